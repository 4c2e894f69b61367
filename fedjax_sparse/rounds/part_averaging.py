"""Averaging when each client holds its own part of the model: an entry's mean is over those whose mask keeps it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.costs.counts import sparse_message, subset_message
from fedjax_sparse.server import aggregation
from fedjax_sparse.sparsity import masks
from fedjax_sparse.types import Cohort, Federation, Message, PyTree, Variables


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


def size_beside(federation: Federation, among: PyTree) -> int:
    """How many scalars of a whole message no mask touches: those of other leaves, and the statistics."""
    whole = trees.size(federation.params) + federation.stats_size
    return whole - sum(masks.prunable_sizes(federation.params, among))


def part_messages(
    federation: Federation, among: PyTree, held: jax.Array, kept: jax.Array, cohort: Cohort
) -> tuple[Message, Message]:
    """The messages up and down where the server knows each client's mask, which a round may shrink.

    Args:
        federation: Whose model travels.
        among: Python bool for each leaf: where masks prune.
        held: i32[C], entries there that are in the mask which both know, and come down.
        kept: i32[C], those that go up; their positions among the `held` travel too unless it is all of them.
        cohort: Whose messages these are.
    """
    whole, beside = trees.size(federation.params) + federation.stats_size, size_beside(federation, among)
    up = subset_message(whole, kept, held, cohort.present, beside=beside)
    return up, sparse_message(whole, held + beside, cohort.invited, located=0, universe=0)
