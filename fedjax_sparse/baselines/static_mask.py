"""Static masks: federated averaging under a mask that is drawn before training."""

import functools

import jax.numpy as jnp

from fedjax_sparse.config.cards.static_mask import StaticMask
from fedjax_sparse.costs.counts import no_work, nothing_sent
from fedjax_sparse.rounds.masked_averaging import averaging_under_a_mask
from fedjax_sparse.sparsity import allocation, masks, saliency, topk
from fedjax_sparse.types import Algorithm, Federation, Metrics

SEED_BITS = 64


def static_mask(federation: Federation, hyper: StaticMask) -> Algorithm:
    """What all sparse training is measured by: a mask that knows nothing of the data and never moves.

        m   = kept_l random entries (or those of largest |w_0|) of every kernel l;  w_0 = m * w_0
        w_i = local SGD from w under m;  w = sum_i p_i w_i

        kept_l = n_l - floor((1 - d_l) n_l), with densities d_l all alike, or in proportion to
                 sum(dimensions) / product(dimensions) (`allocation` "erk"; "er" leaves a window's size out), where a
                 layer that would exceed 1 is dense and the others share the rest

    State: the mask beside the model. Costs: before round 1, the 64 bits of the seed to everyone, or all bits of a mask
    by magnitude; then living values both ways, without positions.

    Departures: RigL's counts, rounded layer by layer. The code of FedPruning, whose `FedInitprune` is ERK by magnitude,
    rounds the other way and has biases and norms count in the sparsity; here it is that of the kernels.

    References:
        Evci et al., Rigging the Lottery: Making All Tickets Winners (arXiv 1911.11134), which has both as baselines.
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    rule = functools.partial(allocation.by_layer, kind=hyper.allocation)
    counts = masks.allocate(rule, federation.params, hyper.sparsity, among)
    prunable = masks.prunable_sizes(federation.params, among)
    kept = sum(int(count) for count, size in zip(counts, prunable, strict=True) if size)
    random = hyper.by == "random"
    told = SEED_BITS if random else sum(prunable)

    def find_mask(variables, cohort, key):
        scores = saliency.random(key, variables.params) if random else saliency.magnitude(variables.params)
        mask = topk.largest_per_leaf(scores, counts, among)
        ranking = masks.ranking(scores, mask, among, layerwise=True)
        nothing = nothing_sent(cohort.invited)
        down = nothing._replace(mask_bits=jnp.where(cohort.invited, told, 0))
        work = no_work(cohort.invited, len(counts))
        return mask, Metrics(nothing, down, work, jnp.zeros_like(cohort.weight), {}, ranking)

    return averaging_under_a_mask(federation, find_mask, kept, among)
