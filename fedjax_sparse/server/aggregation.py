"""From sums over clients to one model."""

import jax
import jax.numpy as jnp

from fedjax_sparse.types import PyTree


def weighted_mean(total: PyTree, weight: jax.Array) -> PyTree:
    """Sum_i w_i x_i / sum_i w_i, and zero where nobody came.

    Args:
        total: The weighted sum over the cohort.
        weight: f[C], the clients' weights, 0 for absent ones.
    """
    whole = jnp.sum(weight)
    return jax.tree.map(lambda leaf: (leaf / jnp.where(whole > 0, whole, 1)).astype(leaf.dtype), total)


def mean_over_holders(total: PyTree, holders: PyTree) -> PyTree:
    """Sum_i w_i m_i x_i / sum_i w_i m_i for each entry: a mean over the clients whose mask keeps it, 0 if none does.

    Args:
        total: The weighted sum of masked values.
        holders: The weighted sum of masks, as floats.
    """
    return jax.tree.map(
        lambda value, held: jnp.where(held > 0, value / jnp.where(held > 0, held, 1), 0), total, holders
    )


def vote(votes: PyTree, threshold: jax.Array | int) -> PyTree:
    """Mask of the entries with at least `threshold` votes.

    Args:
        votes: The unweighted sum of the clients' masks, i32.
        threshold: i32[], for example ceil(K / 2) for K participants.
    """
    return jax.tree.map(lambda count: count >= threshold, votes)
