"""FedTiny: the server moves the mask, by the mean gradient that clients send now and then."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import over_own_batches
from fedjax_sparse.clients.own_accuracy import own_mean
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.fedtiny import FedTiny
from fedjax_sparse.costs.counts import Report, dense_message, no_work, sparse_message, training_work
from fedjax_sparse.rounds.masked_averaging import under
from fedjax_sparse.rounds.moving_mask import (
    Rule,
    averaging_under_a_moving_mask,
    last_gradient,
    layer_counts,
    plain_training,
    random_mask,
    replaced,
    upload,
)
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.sparsity import masks, regrow, topk
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, State


def fedtiny(federation: Federation, hyper: FedTiny) -> Algorithm:
    """One mask for all that follows the mean of the clients' gradients.

    Each round is averaging under the mask m. In rounds t with t mod `adjust_every` = 0, while f(t) > 0, clients also
    send g_i, the dense gradient of one batch at their trained model, and the server, with k = int(f(t) n_l):

        g = sum_i p_i g_i;   of every layer l, m loses its k smallest |w| and gains the k largest |g| of all that is
                             then outside, the just dropped included; what is new starts at 0

        f(t) = `drop_fraction` / 2 (1 + cos(pi t / `adjust_until`)),  0 from there on

    n_l: kept by layer, ERK unless stated; the first mask is random. `progressive`: a client sends only its k largest
    |g_i| outside m, with their places; the just dropped then have gradient 0.

    State: the server's mask; each client knows which mask it last got. Costs: living values both ways, with positions
    down to clients that do not know the mask; in rounds in which it moves, also a gradient of all kernels up, or k
    values with positions. The gradient counts as a pass over its batch under the mask.

    Before round 1, with `candidates` C > 1, clients choose among C random masks. Of each one:

        s_i = the statistics (BatchNorm) after one pass of client i over its data, in training mode, from w_0 under it
        s   = sum_i p_i s_i;   F = mean_i loss of client i on its training data with s, in evaluation mode

    and that of least F is the first mask. Counted are C masked models, then s, down; s_i and a loss up; two forward
    passes of all examples for each candidate.

    Departures. This is FedPruning's `fedtinyclean`; its fuller port takes positions among what is outside the mask for
    positions in the tensor, so that the wrong gradients survive, and is not restored. Its candidates are draws of the
    initial weights, and their running statistics do not arrive at the server: here they are masks, as in the paper
    (there of different densities by layer), and they do. Clients count alike in F, as there. Left out is moving one
    block of layers at a time, for which there is no code.

    References:
        Huang et al., Distributed Pruning Towards Tiny Neural Networks in Federated Learning (arXiv 2212.01977).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    counts, kept = layer_counts(federation, hyper, among)
    drops, due_at = replaced(federation, hyper, counts)
    prunable = sum(masks.prunable_sizes(federation.params, among))
    train, gradient_of = plain_training(federation), last_gradient(federation)

    def due(t):
        return due_at[t]

    def largest_outside(gradient, mask, t):
        outside = jax.tree.map(jnp.logical_not, mask)
        scores = jax.tree.map(jnp.abs, gradient)
        return masks.apply(topk.largest_per_leaf(scores, drops[t], among, outside), gradient)

    def work(server, own, client, t, key):
        trained = train(server.variables, server.mask, client, t, key)
        gradient, looked = gradient_of(trained.variables, client, key, due(t))
        if hyper.progressive:
            gradient = largest_outside(gradient, server.mask, t)
        step = weighted_step(trained.variables, server.variables, client.weight)
        trained = trained._replace(examples=trained.examples + looked)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(server.mask)))
        more = jnp.sum(drops[t]) if hyper.progressive else jnp.where(due(t), prunable, 0)
        located = more if hyper.progressive else 0
        up = upload(federation, server.mask, among, unknown=jnp.asarray(False), more=more, located=located)
        return (step, trees.scale(gradient, client.weight)), own, (report, up)

    def merge(server, sent, cohort, t, key):
        del key
        total, gradients = sent
        variables, opt = server_step(
            federation.server_optimizer, server.variables, server.opt, total, cohort.weight
        )

        def moved():
            scores = jax.tree.map(jnp.abs, weighted_mean(gradients, cohort.weight))
            return regrow.prune_and_regrow(variables.params, server.mask, scores, drops[t], among)[1]

        mask = jax.lax.cond(due(t) & jnp.any(cohort.present), moved, lambda: server.mask)
        return under(federation, server._replace(variables=variables, opt=opt), mask)

    draw = functools.partial(random_mask, counts=counts, among=among)
    chooses = hyper.candidates > 1
    rule = Rule((lambda params, key: masks.ones(params)) if chooses else draw, work, merge)
    promise = Declared("server", "bounded", lambda t: kept, among)  # what has just grown is still zero
    declared = (promise, promise._replace(what="deployed"))
    prepare = _choice(federation, hyper.candidates, draw, counts, kept) if chooses else None
    return averaging_under_a_moving_mask(federation, rule, among, declared, prepare)


def _choice(
    federation: Federation, candidates: int, draw: Callable, counts: np.ndarray, kept: int
) -> Callable[..., tuple[State, Metrics]]:
    """The preparation in which clients choose among masks.

    Args:
        federation: Whose clients.
        candidates: How many masks.
        draw: (params, key) -> a mask.
        counts: i32[L], what it keeps of each leaf.
        kept: Of these, the sum over leaves that are pruned.
    """
    plan, loss = federation.plan, federation.loss_of(None, train=False)

    def look(model, client_state, client, key):
        def see(stats, batch):
            return federation.loss(model._replace(stats=stats), batch)[1]

        stats = over_own_batches(see, model.stats, client, plan, key)
        return trees.scale(stats, client.weight), client_state, ()

    def judge(model, client_state, client, key):
        return own_mean(loss, plan, model, client, key), client_state, ()

    def prepare(state, cohort, key):
        variables = state.server.variables
        draw_key, look_key, judge_key = jax.random.split(key, 3)

        def total_loss(key):
            model = masks.model_under(variables, draw(variables.params, key))
            stats, _, _ = federation.over_clients(look, model, (), cohort, look_key)
            model = model._replace(stats=weighted_mean(stats, cohort.weight))
            return federation.over_clients(judge, model, (), cohort, judge_key)[0]

        keys = jax.random.split(draw_key, candidates)
        losses = jax.lax.map(total_loss, keys)
        best = jnp.argmin(jnp.where(jnp.isnan(losses), jnp.inf, losses))
        server = under(federation, state.server, draw(variables.params, keys[best]))
        known = state.client._replace(known=jnp.zeros_like(state.client.known))
        return State(server, known), metrics(cohort)

    def metrics(cohort):
        size, beside = trees.size(federation.params), federation.stats_size
        prunable = size - int(counts.sum()) + kept
        down = sparse_message(
            candidates * (size + 2 * beside),
            candidates * (int(counts.sum()) + 2 * beside),
            cohort.invited,
            located=0,
            universe=0,
            mask_bits=candidates * prunable,
        )
        up = dense_message(candidates * (1 + beside), cohort.present)
        done = no_work(cohort.id, len(counts))._replace(
            examples=2 * candidates * jnp.where(cohort.present, cohort.count, 0),
            forward=jnp.broadcast_to(jnp.asarray(counts, jnp.int32), (*cohort.id.shape, len(counts))),
        )
        return Metrics(up, down, done, jnp.zeros_like(cohort.weight), {})

    return prepare
