"""Moving a mask: some living weights are dropped and as many others grown (SET, RigL, FedDST, DisPFL)."""

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.sparsity import masks, topk
from fedjax_sparse.types import PyTree, Ranking


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
    n = jnp.clip(jnp.asarray(n_drop), 0, trees.count_nonzero(mask))
    survivors = without_smallest(params, mask, n, among)
    new_mask = with_largest(survivors, grow_scores, n, among)
    grown = jax.tree.map(lambda new, kept: new & ~kept, new_mask, survivors)
    weights = jax.tree.map(
        lambda chosen, w, kept: jnp.where(kept, w, jnp.zeros_like(w)) if chosen else w,
        among,
        params,
        survivors,
    )
    return weights, new_mask, grown


def without_smallest(params: PyTree, mask: PyTree, n_drop: topk.Counts, among: PyTree) -> PyTree:
    """The mask without the `n_drop[i]` living entries of least |w| in each chosen leaf i; of ties the last ones go."""
    leaves, treedef = jax.tree.flatten(params)
    others = [treedef.flatten_up_to(tree) for tree in (mask, among)]
    return treedef.unflatten(
        [
            topk.largest(jnp.abs(weights), trees.count(live) - n, where=live) if chosen else live
            for weights, live, chosen, n in zip(leaves, *others, n_drop, strict=True)
        ]
    )


def with_largest(mask: PyTree, scores: PyTree, n_grow: topk.Counts, among: PyTree) -> PyTree:
    """The mask and the `n_grow[i]` entries outside it of largest score in each chosen leaf i; of ties the first."""
    leaves, treedef = jax.tree.flatten(mask)
    others = [treedef.flatten_up_to(tree) for tree in (scores, among)]
    return treedef.unflatten(
        [
            live | topk.largest(score, n, where=~live) if chosen else live
            for live, score, chosen, n in zip(leaves, *others, n_grow, strict=True)
        ]
    )


def ranking(scores: PyTree, mask: PyTree, grown: PyTree, among: PyTree) -> Ranking:
    """How far the scores decided what grew into the new mask, leaf by leaf; see `masks.ranking`."""
    candidates = jax.tree.map(
        lambda score, live, new: jnp.where(live & ~new, -jnp.inf, score), scores, mask, grown
    )
    return masks.ranking(candidates, grown, among, layerwise=True)


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
