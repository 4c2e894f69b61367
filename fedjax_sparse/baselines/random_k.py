"""Random-k: clients send entries of their updates that were drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.config.cards.random_k import RandomK
from fedjax_sparse.costs.counts import sparse_message
from fedjax_sparse.rounds.error_feedback import (
    error_feedback,
    located_entries,
    nothing,
    plain_training,
    remembering,
    zeros,
)
from fedjax_sparse.sparsity import compression
from fedjax_sparse.types import Algorithm, Declared, Federation

SEED_BITS = 64


def random_k(federation: Federation, hyper: RandomK) -> Algorithm:
    """Random-k of the update: a contraction with error correction, or unbiased without.

    Round t, for each client i of the cohort with weight p_i, and k of d entries drawn uniformly without replacement:

        U = w_i - W + A_i;  S_i = Rand_k(U);  A_i = U - S_i               with residual A_i, zeros at first
        S_i = (d / k) Rand_k(w_i - W)                                      `unbiased`: its mean is w_i - W
        W = W + sum_i p_i S_i

    k = max(1, round(d R / 100)), R being `keep_percent`, of all tensors together or of each (`layerwise`). Absent
    clients keep their residuals. With R = 100 this is FedAvg.

    State: each client keeps A_i, or nothing. Up go k values and the seed of the draw, 64 bits (`positions`); the
    downlink is dense, also with `common_mask`, where the server's step has k entries.

    Departures: a port (GRACE) takes max(1, int(d R / 100)) entries of each tensor, by one seed for all clients that is
    derived from the tensor's name and a counter: `layerwise`, `common_mask`, `positions` "derived".

    References:
        Stich et al., Sparsified SGD with Memory (arXiv 1809.07599).
    """
    everything = jax.tree.map(lambda leaf: True, federation.params)
    sizes = trees.sizes(federation.params) if hyper.layerwise else [trees.size(federation.params)]
    ks = compression.exact_counts(sizes, hyper.keep_percent)
    kept = int(np.sum(ks, dtype=np.int64))

    def select(turn, tree):
        key = turn.common if hyper.common_mask else turn.key
        if hyper.layerwise:
            return compression.random_k_per_leaf(tree, key, ks, everything)
        return compression.random_k(tree, key, kept, everything)

    def unbiased(turn, update, memory):
        sent, mask = select(turn, update)
        leaves, treedef = jax.tree.flatten(sent)
        factors = np.divide(sizes, ks) if hyper.layerwise else [sizes[0] / kept] * len(leaves)
        scaled = [leaf * float(factor) for leaf, factor in zip(leaves, factors, strict=True)]
        return treedef.unflatten(scaled), memory, jnp.sum(trees.count_nonzero(mask))

    def with_seed(values, sent):
        size, stats_size = trees.size(federation.params), federation.stats_size
        bits = SEED_BITS if hyper.positions == "seed" else 0
        whole = size + stats_size
        return sparse_message(whole, values + stats_size, sent, located=0, universe=size, mask_bits=bits)

    located = hyper.positions == "indices"
    return error_feedback(
        federation,
        plain_training(federation),
        unbiased if hyper.unbiased else remembering(select),
        declared=(Declared("upload", "exact", lambda t: kept, everything),),
        first_memory=nothing if hyper.unbiased else zeros,
        upload=located_entries(federation) if located else with_seed,
    )
