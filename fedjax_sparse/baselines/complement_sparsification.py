"""Complement Sparsification: the server keeps the largest weights, and clients send what it lacks."""

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.complement_sparsification import ComplementSparsification
from fedjax_sparse.costs.counts import Report, sparse_message, subset_message, training_work
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.sparsity import masks, saliency, topk
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, State


def complement_sparsification(federation: Federation, hyper: ComplementSparsification) -> Algorithm:
    """Clients train densely from a pruned model and send what lies outside of it.

    Round t, for each client i of the cohort with weight p_i, from the server's w:

        y_i = local SGD from w, dense
        w   = sum_i p_i y_i                                  in round 1, and of biases and norms in every round
        w   = w + 1.5 sum_i p_i y_i * 1[w = 0]               kernels, from round 2 on; 1.5 is `complement_step`
        w   = w * m,  m the largest d - floor(d s) magnitudes of each kernel of d entries

    s is `sparsity`. A weight that survives is never updated by clients: it is only displaced by larger ones. If nobody
    comes, w is pruned all the same.

    State: none beside the server's model. Down go w's living weights with their positions; up go the entries where w
    is zero, which the server knows, and all of biases, norms and model statistics. In round 1 all travels.

    Departures. The official code (XJ8/complement-sparsification-FL) tunes the aggregate for one epoch on data pooled
    from 5 % of the clients and takes the mask, not the values, from that model; here the mask is that of the aggregate
    itself, so that the server needs no data. Its first round is the one in which the first tensor holds no zero, its
    kernels are every other tensor, and its clients run Adam. A living weight that is exactly zero counts as pruned.

    References:
        Jiang and Borcea, Complement Sparsification: Low-Overhead Model Pruning for Federated Learning
        (arXiv 2303.06237).
    """
    gradient = make_gradient(federation.loss)
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)
    prunable = masks.prunable_sizes(federation.params, among)
    kept = np.array([size - int(size * hyper.sparsity) for size in prunable], np.int32)
    positions, whole = sum(prunable), trees.size(federation.params) + federation.stats_size

    def init(variables, key):
        del key
        return variables

    def work(shared, client_state, client, key):
        start, lacking, t = shared
        trained = federation.train(gradient, start, client, t, key)
        step = weighted_step(trained.variables, start, client.weight)
        step = masks.model_under(step, lacking)
        return step, client_state, Report(trained.loss, training_work(trained, live))

    def round_fn(state, cohort, t, key):
        start, first = state.server, t == 1
        lacking = jax.tree.map(
            lambda here, leaf: (leaf == 0) | first if here else jnp.ones_like(leaf, bool), among, start.params
        )
        total, client_states, report = federation.over_clients(
            work, (start, lacking, t), state.client, cohort, key
        )
        mean = weighted_mean(total, cohort.weight)
        factor = jnp.where(first, 1, hyper.complement_step)
        params = jax.tree.map(
            lambda here, leaf, step: (leaf + (factor if here else 1) * step).astype(leaf.dtype),
            among,
            start.params,
            mean.params,
        )
        mask = topk.largest_per_leaf(saliency.magnitude(params), kept, among)
        stats = trees.where(jnp.any(cohort.present), mean.stats, start.stats)
        living = masks.count(masks.nonzero(start.params, among), among)
        down = subset_message(whole, living, positions, cohort.invited, beside=whole - positions)
        sent = masks.count(lacking, among) + whole - positions
        up = sparse_message(whole, sent, cohort.present, located=0, universe=positions)
        server = start._replace(params=masks.apply(mask, params), stats=stats)
        return State(server, client_states), Metrics(up, down, report.work, report.loss, {})

    def model(server, client_state):
        del client_state
        return server

    in_kernels = int(kept.sum(where=np.array(jax.tree.leaves(among)), dtype=np.int64))
    promise = Declared("server", "exact", lambda t: in_kernels, among)
    declared = (promise, promise._replace(what="deployed"))  # they are one model
    return Algorithm(init, no_client_state, None, round_fn, model, None, declared)
