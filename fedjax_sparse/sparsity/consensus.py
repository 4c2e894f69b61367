"""How far masks agree and how they move. Counts are of the leaves chosen by `among`."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import errors, trees
from fedjax_sparse.sparsity import masks
from fedjax_sparse.types import PyTree, Variables

MOST_MASKS = 32  # clients whose masks are held at once to be compared with each other


class Regrowth(NamedTuple):
    """What happened to a client's support in a round, i32[] each; see `regrowth`."""

    regrowth: jax.Array
    activated: jax.Array
    deactivated: jax.Array


def regrowth(received: PyTree, trained: PyTree, sent: PyTree, among: PyTree) -> Regrowth:
    """Compares the supports B received, T after local training and P sent.

    Returns:
        `regrowth` |(B or T) and not P|, what lived at any time but is not sent, as the authors of SparsyFed plot it;
        `activated` |P and not B|; `deactivated` |B and not P|.
    """

    def difference(a, b):
        return jax.tree.map(lambda x, y: x & ~y, a, b)

    lived = masks.union(received, trained)
    changes = difference(lived, sent), difference(sent, received), difference(received, sent)
    return Regrowth(*masks.counts(changes, among))


def bits(mask: PyTree, among: PyTree) -> jax.Array:
    """The chosen leaves as one row of bits, u8[...]."""
    pairs = zip(jax.tree.leaves(mask), jax.tree.leaves(among), strict=True)
    return jnp.concatenate([jnp.packbits(leaf) for leaf, chosen in pairs if chosen])


def check_overlaps(cohort_size: int) -> None:
    """Raises a `UsageError` for cohorts whose masks are too many to be compared with each other."""
    if cohort_size > MOST_MASKS:
        raise errors.UsageError(
            f"--cohort-size = {cohort_size} is too large for --log-masks; allowed: 1 to {MOST_MASKS}"
        )


def overlaps(rows: jax.Array) -> jax.Array:
    """Intersection over union of the masks of each two clients, f32[C, C]; 0 of two that are empty.

    Args:
        rows: u8[C, ...], as `bits` makes them.
    """

    def count(words):
        return jnp.sum(jax.lax.population_count(words).astype(jnp.int32), axis=-1)

    def with_all(row):
        row = jnp.broadcast_to(row, rows.shape)
        return count(row & rows) / jnp.maximum(count(row | rows), 1)

    return jax.lax.map(with_all, rows).astype(jnp.float32)


def client_metrics(
    received: Variables, trained: Variables, sent: Variables, among: PyTree
) -> dict[str, jax.Array]:
    """What one client logs of its round: `regrowth`, and the agreement of what it received with what it sent."""
    before, during, after = (masks.nonzero(model.params, among) for model in (received, trained, sent))
    return {
        **regrowth(before, during, after, among)._asdict(),
        "mask_iou_client": masks.iou(before, after, among),
        "mask_iou_client_all": _iou_of_all(received, sent),
    }


def server_metrics(before: Variables, after: Variables, among: PyTree) -> dict[str, jax.Array]:
    """What a round logs of the server's model: its agreement with the round before, and the density of each kernel."""
    old, new = masks.nonzero(before.params, among), masks.nonzero(after.params, among)
    leaves = zip(trees.names(new), masks.density(new), jax.tree.leaves(among), strict=True)
    return {
        "mask_iou_rounds": masks.iou(old, new, among),
        "mask_iou_rounds_all": _iou_of_all(before, after),
        "server_density_prunable": masks.count(new, among) / sum(masks.prunable_sizes(new, among)),
        **{f"density/{name}": density for name, density, chosen in leaves if chosen},
    }


def _iou_of_all(a: Variables, b: Variables) -> jax.Array:
    """Intersection over union of what is not zero, in parameters and statistics alike."""
    everywhere = jax.tree.map(lambda leaf: True, a)
    return masks.iou(masks.nonzero(a, everywhere), masks.nonzero(b, everywhere), everywhere)
