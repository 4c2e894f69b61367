"""Sparse updates: operators that keep a part of a tree. Each returns what is kept, zero elsewhere, and its mask.

Leaves not chosen by `among` are kept whole.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from fedjax_sparse import trees
from fedjax_sparse.sparsity import masks, saliency, topk
from fedjax_sparse.types import PyTree

Selection = Callable[[PyTree], tuple[PyTree, PyTree]]


def top_k(tree: PyTree, k: ArrayLike, among: PyTree) -> tuple[PyTree, PyTree]:
    """The `k` entries of largest magnitude over all chosen leaves together."""
    mask = masks.magnitude(tree, k, among)
    return masks.apply(mask, tree), mask


def top_k_per_leaf(tree: PyTree, ks: topk.Counts, among: PyTree) -> tuple[PyTree, PyTree]:
    """The `ks[i]` entries of largest magnitude of each chosen leaf i."""
    mask = topk.largest_per_leaf(saliency.magnitude(tree), ks, among)
    return masks.apply(mask, tree), mask


def above_next_per_leaf(tree: PyTree, ks: topk.Counts, among: PyTree) -> tuple[PyTree, PyTree]:
    """The entries of each chosen leaf i that are strictly larger in magnitude than its (ks[i] + 1)-th largest.

    That is `ks[i]` entries, or fewer when some tie with the next one: of an all-zero leaf, none. In a leaf without
    a next one, those that are not zero. Denormal numbers may count as zero, as in any comparison of floats by XLA.
    FLARE's rule, with the counts of `flare_counts`.
    """

    def select(leaf, k, chosen):
        if not chosen:
            return jnp.ones_like(leaf, bool)
        size = jnp.abs(leaf)
        return size > jnp.where(k < leaf.size, topk.kth_largest(size, k + 1), 0)

    leaves, treedef = jax.tree.flatten(tree)
    parts = zip(leaves, ks, treedef.flatten_up_to(among), strict=True)
    mask = treedef.unflatten([select(*part) for part in parts])
    return masks.apply(mask, tree), mask


def random_k(tree: PyTree, key: jax.Array, k: ArrayLike, among: PyTree) -> tuple[PyTree, PyTree]:
    """`k` entries drawn uniformly from all chosen leaves together; not scaled up, so biased towards zero."""
    mask = topk.largest_global(saliency.random(key, tree), k, among)
    return masks.apply(mask, tree), mask


def random_k_per_leaf(tree: PyTree, key: jax.Array, ks: topk.Counts, among: PyTree) -> tuple[PyTree, PyTree]:
    """`ks[i]` entries drawn uniformly from each chosen leaf i; not scaled up."""
    mask = topk.largest_per_leaf(saliency.random(key, tree), ks, among)
    return masks.apply(mask, tree), mask


def soft_threshold(tree: PyTree, threshold: ArrayLike, among: PyTree) -> tuple[PyTree, PyTree]:
    """sign(x) max(|x| - threshold, 0): the proximal operator of threshold * ||x||_1. Not a selection: values shrink."""

    def shrink(chosen, leaf):
        return (
            jnp.sign(leaf) * jnp.maximum(jnp.abs(leaf) - threshold, 0).astype(leaf.dtype) if chosen else leaf
        )

    shrunk = jax.tree.map(shrink, among, tree)
    return shrunk, masks.nonzero(shrunk, among)


def error_feedback(select: Selection, update: PyTree, residual: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    """Sends a part of update + residual and keeps the rest for the next time (arXiv 1809.07599).

    No entry is both sent and kept, so sent + new residual = update + residual holds exactly.

    Args:
        select: Tree -> (what is kept of it, its mask); one that does not change what it keeps.
        update: What there is to send.
        residual: What was not sent before; zeros at first.

    Returns:
        What is sent, the new residual, and the mask of what is sent.
    """
    total = trees.add(update, residual)
    sent, mask = select(total)
    rest = jax.tree.map(lambda keep, leaf: jnp.where(keep, jnp.zeros_like(leaf), leaf), mask, total)
    return sent, rest, mask


def remainder_feedback(
    compress: Callable[[PyTree], tuple[PyTree, PyTree]], update: PyTree, residual: PyTree
) -> tuple[PyTree, PyTree, PyTree]:
    """`error_feedback` for an operator that changes what it sends: the residual is what is left of the total.

    Args:
        compress: Tree -> (what the receiver reads, the counts of the message).
        update: What there is to send.
        residual: What was not sent before; zeros at first.

    Returns:
        What the receiver reads, the new residual, and the counts.
    """
    total = trees.add(update, residual)
    sent, counts = compress(total)
    return sent, trees.sub(total, sent), counts


def exact_counts(sizes: Sequence[int], percent: float) -> np.ndarray:
    """i32[L]: max(1, round(size percent / 100)) entries of each leaf, halves to even."""
    return np.array([min(size, max(1, round(size * percent / 100))) for size in sizes], np.int32)


def flare_counts(sizes: Sequence[int], percent: float) -> np.ndarray:
    """i32[L]: round(size percent / 100) + 1 entries of each leaf, halves to even, as FLARE's official code sends."""
    return np.array([min(size, round(size * percent / 100) + 1) for size in sizes], np.int32)
