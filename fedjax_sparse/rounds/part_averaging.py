"""Averaging when each client holds its own part of the model: an entry's mean is over those whose mask keeps it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.server import aggregation
from fedjax_sparse.types import PyTree, Variables


class Parts(NamedTuple):
    """Sums over clients, each of which counts once: of their models, and how many hold each entry (i32)."""

    variables: Variables
    holders: PyTree


def part_sum(variables: Variables, mask: PyTree) -> Parts:
    """What one client contributes: its model, zero outside the mask, and the mask."""
    return Parts(variables, jax.tree.map(lambda held: held.astype(jnp.int32), mask))


def mean_of_parts(before: Variables, total: Parts, present: jax.Array) -> Variables:
    """The mean of each entry over its holders, as before where there are none; statistics are averaged.

    Args:
        before: The server's model.
        total: The sum of `part_sum` over the cohort.
        present: bool[C], who contributed.
    """
    mean = aggregation.mean_over_holders(total.variables.params, total.holders)
    params = jax.tree.map(
        lambda held, new, old: jnp.where(held > 0, new, old), total.holders, mean, before.params
    )
    stats = aggregation.weighted_mean(total.variables.stats, present.astype(jnp.float32))
    return Variables(params, trees.where(jnp.any(present), stats, before.stats))
