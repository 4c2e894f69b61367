"""Which parameters live: boolean pytrees shaped exactly like the parameters, all True on leaves never pruned.

`among`, here and elsewhere, is a pytree of Python bools, one for each leaf: where pruning is allowed.
"""

import functools
from collections.abc import Callable, Collection, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from fedjax_sparse import errors, trees
from fedjax_sparse.sparsity import saliency, topk
from fedjax_sparse.types import PyTree, Ranking, Variables

KINDS = ("kernel", "bias", "norm", "embedding")
SCOPES = {"all": KINDS, "no-norms": ("kernel", "bias", "embedding"), "kernels": ("kernel",)}


def prunable(kinds: PyTree, chosen: Collection[str]) -> PyTree:
    """Python bool for each leaf: whether its kind is one of those chosen (see `KINDS` and `SCOPES`)."""
    for kind in chosen:
        if kind not in KINDS:
            errors.unknown_name("kind of parameter", kind, KINDS)
    return jax.tree.map(lambda kind: kind in chosen, kinds)


def prunable_sizes(params: PyTree, among: PyTree) -> list[int]:
    """Entries of each leaf that may be pruned: all on the chosen leaves, 0 on the others; Python ints."""
    return [size if yes else 0 for size, yes in zip(trees.sizes(params), jax.tree.leaves(among), strict=True)]


def ones(params: PyTree) -> PyTree:
    """Everything lives."""
    return jax.tree.map(lambda leaf: jnp.ones_like(leaf, bool), params)


def apply(mask: PyTree, tree: PyTree) -> PyTree:
    """The tree, exactly zero outside the mask: a NaN there does not get through."""
    return jax.tree.map(lambda keep, leaf: jnp.where(keep, leaf, jnp.zeros_like(leaf)), mask, tree)


def model_under(variables: Variables, mask: PyTree) -> Variables:
    """The model of which only `mask` lives; its statistics stay."""
    return variables._replace(params=apply(mask, variables.params))


def magnitude(params: PyTree, k: ArrayLike, among: PyTree) -> PyTree:
    """The `k` weights of largest magnitude over all chosen leaves together; ties to the first."""
    return topk.largest_global(saliency.magnitude(params), k, among)


def with_ties(mask: PyTree, scores: PyTree, among: PyTree, *, layerwise: bool) -> PyTree:
    """The mask and, on the chosen leaves, every entry whose score equals the lowest one in it.

    Args:
        mask: Marks the largest scores of all chosen leaves together or, with `layerwise`, of each.
        scores: Scores, one for each parameter.
        among: Python bool for each leaf.
        layerwise: Whether the lowest score is that of the leaf, or that of all chosen leaves.
    """
    leaves, treedef = jax.tree.flatten(scores)
    marked, chosen = treedef.flatten_up_to(mask), treedef.flatten_up_to(among)
    lowest = [
        jnp.min(leaf, initial=jnp.inf, where=keep & yes)
        for leaf, keep, yes in zip(leaves, marked, chosen, strict=True)
    ]
    if not layerwise:
        lowest = [functools.reduce(jnp.minimum, lowest)] * len(leaves)
    parts = zip(leaves, marked, lowest, chosen, strict=True)
    return treedef.unflatten([keep | (leaf >= least) if yes else keep for leaf, keep, least, yes in parts])


def ranking(scores: PyTree, mask: PyTree, among: PyTree, *, layerwise: bool = False) -> Ranking:
    """How far the scores decided a mask of the largest ones.

    Args:
        scores: Scores, one for each parameter; minus infinity where an entry was no candidate.
        mask: What was kept.
        among: Python bool for each leaf.
        layerwise: Whether each chosen leaf had a ranking of its own, or all together.
    """
    leaves, treedef = jax.tree.flatten(scores)
    parts = zip(leaves, treedef.flatten_up_to(mask), treedef.flatten_up_to(among), strict=True)
    chosen = [(leaf, keep) for leaf, keep, yes in parts if yes]
    nonzero = sum((trees.count((leaf != 0) & (leaf > -jnp.inf)) for leaf, _ in chosen), jnp.int32(0))
    groups = [[one] for one in chosen] if layerwise else [chosen]
    return Ranking(nonzero, sum(map(_kept_by_index, groups), jnp.int32(0)))


def _kept_by_index(group: Sequence[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Of one ranking, of (scores, kept): how many kept entries tie with dropped ones, i32[]; see `Ranking`."""
    least = functools.reduce(jnp.minimum, (jnp.min(s, initial=jnp.inf, where=keep) for s, keep in group))
    most = functools.reduce(jnp.maximum, (jnp.max(s, initial=-jnp.inf, where=keep) for s, keep in group))
    tied, dropped = (
        sum((trees.count((s == least) & (keep == kept)) for s, keep in group), jnp.int32(0))
        for kept in (True, False)
    )
    return jnp.where((dropped > 0) & ((least == 0) | (least == most)), tied, 0)


def nonzero(params: PyTree, among: PyTree) -> PyTree:
    """The weights that are not zero; all of them on the leaves not chosen."""
    return jax.tree.map(
        lambda chosen, leaf: leaf != 0 if chosen else jnp.ones_like(leaf, bool), among, params
    )


def count(mask: PyTree, among: PyTree) -> jax.Array:
    """How many entries live on the chosen leaves, i32[]; `trees.count_nonzero` counts each leaf."""
    return jnp.sum(jnp.where(np.array(jax.tree.leaves(among)), trees.count_nonzero(mask), 0), dtype=jnp.int32)


def counts(several: Sequence[PyTree], among: PyTree) -> list[jax.Array]:
    """`count` of each of several masks, all in one pass over the data."""
    totals = [jnp.int32(0)] * len(several)
    leaves = zip(*(jax.tree.leaves(mask) for mask in several), strict=True)
    for parts, chosen in zip(leaves, jax.tree.leaves(among), strict=True):
        if chosen:
            totals = jax.tree.map(jnp.add, totals, trees.count_each(parts))
    return totals


def density(mask: PyTree) -> jax.Array:
    """Share of each leaf that lives, f32[L]; 1 on leaves without entries."""
    sizes = np.array(trees.sizes(mask))
    return jnp.where(sizes > 0, trees.count_nonzero(mask) / np.maximum(sizes, 1).astype(np.float32), 1)


def intersect(a: PyTree, b: PyTree) -> PyTree:
    """What lives in both."""
    return jax.tree.map(jnp.logical_and, a, b)


def union(a: PyTree, b: PyTree) -> PyTree:
    """What lives in either."""
    return jax.tree.map(jnp.logical_or, a, b)


def iou(a: PyTree, b: PyTree, among: PyTree) -> jax.Array:
    """Intersection over union on the chosen leaves, f32[]; 1 where both masks are empty."""
    both, either = counts([intersect(a, b), union(a, b)], among)
    return jnp.where(either > 0, both / jnp.maximum(either, 1), 1)


def allocate(
    allocation: Callable[[dict[str, tuple[int, ...]], float], np.ndarray],
    params: PyTree,
    sparsity: float,
    among: PyTree,
) -> np.ndarray:
    """How many entries each leaf keeps, i32[L]: by a rule of `allocation` on the chosen leaves, all on the others.

    Args:
        allocation: (name -> shape, sparsity) -> i32[number of names], such as `allocation.erk`.
        params: The parameters, or their shapes and dtypes.
        sparsity: Fraction of zeros over the chosen leaves together, in [0, 1).
        among: Python bool for each leaf.
    """
    leaves = zip(trees.names(params), jax.tree.leaves(params), strict=True)
    shapes = {name: leaf.shape for name, leaf in leaves}
    chosen = np.array(jax.tree.leaves(among))
    kept = np.array(trees.sizes(params), np.int32)
    names = [name for name, yes in zip(shapes, chosen, strict=True) if yes]
    kept[chosen] = allocation({name: shapes[name] for name in names}, sparsity)
    return kept
