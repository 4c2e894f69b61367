"""FedTiny: the server moves the mask, by the mean gradient that clients send now and then."""

import functools

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.config.cards.fedtiny import FedTiny
from fedjax_sparse.costs.counts import Report, training_work
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
from fedjax_sparse.server.optimizer import server_step, weighted_step
from fedjax_sparse.sparsity import masks, regrow, topk
from fedjax_sparse.types import Algorithm, Declared, Federation


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

    Departures. This is FedPruning's `fedtinyclean`; its fuller port takes positions among what is outside the mask for
    positions in the tensor, so that the wrong gradients survive, and is not restored. Nor are two parts of the paper:
    the choice between candidate masks by batch-norm statistics (one candidate is what the port has by default, and
    there candidates differ by seed alone, and statistics do not arrive), and moving one block of layers at a time, for
    which there is no code.

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

    rule = Rule(functools.partial(random_mask, counts=counts, among=among), work, merge)
    promise = Declared("server", "bounded", lambda t: kept, among)  # what has just grown is still zero
    return averaging_under_a_moving_mask(
        federation, rule, among, (promise, promise._replace(what="deployed"))
    )
