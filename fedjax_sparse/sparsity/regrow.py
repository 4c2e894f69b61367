"""Moving a mask: some living weights are dropped and as many others grown (SET, RigL, FedDST, DisPFL)."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from fedjax_sparse.sparsity import topk
from fedjax_sparse.types import PyTree


def prune_and_regrow(
    params: PyTree, mask: PyTree, grow_scores: PyTree, n_drop: topk.Counts, among: PyTree
) -> tuple[PyTree, PyTree, PyTree]:
    """Drops the smallest living weights of each chosen leaf and grows as many of largest score; counts stay exact.

    What was just dropped may grow again, as in RigL (arXiv 1911.11134), then from zero like the others; what
    survives cannot be grown. Random scores give SET (arXiv 1707.04780), |gradient| gives RigL and FedDST
    (arXiv 2112.09824).

    Args:
        params: The weights.
        mask: Which of them live.
        grow_scores: The larger, the sooner an entry is grown.
        n_drop: i32[L], how many to replace in each leaf, in leaf order; at most the living are.
        among: Python bool for each leaf; the others are left as they are.

    Returns:
        The weights, zero outside the new mask and where grown; the new mask; and which entries were grown.
    """
    leaves, treedef = jax.tree.flatten(params)
    others = [treedef.flatten_up_to(tree) for tree in (mask, grow_scores, among)]
    moved = [
        _move(weights, live, scores, n) if chosen else (weights, live, jnp.zeros_like(live))
        for weights, live, scores, chosen, n in zip(leaves, *others, n_drop, strict=True)
    ]
    new_params, new_mask, grown = (treedef.unflatten(column) for column in zip(*moved, strict=True))
    return new_params, new_mask, grown


def _move(
    weights: jax.Array, live: jax.Array, scores: jax.Array, n: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`prune_and_regrow` for one leaf."""
    total = jnp.count_nonzero(live)
    n = jnp.clip(n, 0, total)
    survivors = topk.largest(jnp.abs(weights), total - n, where=live)
    grown = topk.largest(scores, n, where=~survivors)
    return jnp.where(survivors, weights, jnp.zeros_like(weights)), survivors | grown, grown


def reset_grown(state: PyTree, grown: PyTree) -> PyTree:
    """Zeroes a state's moments where weights were grown; what is not shaped like the parameters stays.

    Args:
        state: An optimiser's state, or any pytree that contains trees shaped like the parameters.
        grown: bool for each parameter.
    """
    structure, shapes = jax.tree.structure(grown), [leaf.shape for leaf in jax.tree.leaves(grown)]

    def like_params(node):
        return (
            jax.tree.structure(node) == structure and [jnp.shape(x) for x in jax.tree.leaves(node)] == shapes
        )

    def restart(node):
        if not like_params(node):
            return node
        return jax.tree.map(lambda new, moment: jnp.where(new, jnp.zeros_like(moment), moment), grown, node)

    return jax.tree.map(restart, state, is_leaf=like_params)
