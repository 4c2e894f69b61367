"""SNIP and GraSP at all clients: what everyone's data say of the initial weights decides what lives."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.config.cards.all_client_saliency import AllClientSaliency
from fedjax_sparse.costs.counts import nothing_sent, sparse_message
from fedjax_sparse.rounds.masked_averaging import averaging_under_a_mask
from fedjax_sparse.rounds.scored_mask import (
    GRASP_PASSES,
    Scoring,
    check_some_kept,
    make_find_mask,
    score_on_batch,
)
from fedjax_sparse.server.aggregation import vote
from fedjax_sparse.sparsity import masks, saliency, schedules, topk
from fedjax_sparse.types import Algorithm, Federation


def snip_all(federation: Federation, hyper: AllClientSaliency) -> Algorithm:
    """A mask from the saliencies of all clients, then federated averaging under it.

        m = the floor(N (1 - s)) largest mean_k |w_0 * g_k|,  g_k the gradient on a minibatch of client k

    over all kernels together (N entries); w_0 is masked before round 1. This is SalientGrads with one minibatch and
    cross-entropy; what is called by the older name is here to be compared with `snip`, one client's mask.

    `merge` "union": each client takes the round(N (1 - s)) largest for its own mask, and what is in one of them
    lives: denser than asked, by how much the clients disagree.

    Costs: w_0 to everyone, N scores back (or N bits of a mask), the mask to everyone; then living values both ways.

    Departures: no official code of the union runs (FedSparsify's is commented out); ties are cut by index
    (`keep_ties`). The paper's new weights for the scoring are not drawn.

    References:
        Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity (arXiv 1810.02340); Stripelis et
        al. (arXiv 2204.12430).
    """
    return _all_client_saliency(federation, hyper, saliency.snip, passes=1)


def grasp_all(federation: Federation, hyper: AllClientSaliency) -> Algorithm:
    """Like `snip_all`, with the scores w_0 * H_k g_k: H_k and g_k are those of one minibatch of client k.

    One exchange: the mean over clients of each one's own product, not the Hessian of all times the gradient of all,
    which would take another. H and g are those of the kernels, all else being constant.

    Reconstructed: no source has GraSP at all clients. Departures from GraSP's own code: as of `grasp`; scores of
    several minibatches are averaged, where it sums the gradient over all of them first.

    References:
        Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow (arXiv 2002.07376).
    """
    return _all_client_saliency(federation, hyper, saliency.grasp, passes=GRASP_PASSES)


def _all_client_saliency(
    federation: Federation, hyper: AllClientSaliency, score: Callable, passes: int
) -> Algorithm:
    """`score(loss, params)` ranks the parameters and costs as much as `passes` gradients."""
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    prunable, union = sum(masks.prunable_sizes(federation.params, among)), hyper.merge == "union"
    kept = (schedules.round_kept if union else schedules.floor_kept)(prunable, hyper.sparsity)
    check_some_kept(kept, prunable, hyper.sparsity)

    def top(scores):
        mask = topk.largest_global(scores, kept, among)
        ranking = masks.ranking(scores, mask, among)
        return masks.with_ties(mask, scores, among, layerwise=False) if hyper.keep_ties else mask, ranking

    def own_mask(scores, client):
        del client
        return jax.tree.map(lambda keep: keep.astype(jnp.int32), top(scores)[0])

    def weighted(scores, client):
        return trees.scale(scores, client.count if hyper.saliency_weighting == "examples" else 1)

    def as_bits(present):
        return nothing_sent(present)._replace(mask_bits=jnp.where(present, prunable, 0))

    loss = federation.loss_of(None, train=hyper.saliency_mode == "train")
    scoring = Scoring(
        score=score_on_batch(loss, score, among),
        batches=hyper.saliency_batches,
        passes=passes,
        say=own_mask if union else weighted,
        select=(lambda votes: (vote(votes, 1), None)) if union else top,
        upload=as_bits
        if union
        else functools.partial(sparse_message, prunable, prunable, located=0, universe=0),
    )
    find_mask = make_find_mask(federation, scoring, among)
    return averaging_under_a_mask(federation, find_mask, kept, among, exact=not (union or hyper.keep_ties))
