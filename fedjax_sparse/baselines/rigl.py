"""RigL and SET at the clients of a federation: masks that move by gradients or at random."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.rigl import ClientMovingMask
from fedjax_sparse.costs.counts import Report, training_work
from fedjax_sparse.rounds.masked_averaging import under
from fedjax_sparse.rounds.moving_mask import (
    ClientMove,
    Rule,
    averaging_under_a_moving_mask,
    layer_counts,
    random_mask,
    replaced,
    train_and_move,
    upload,
)
from fedjax_sparse.server.aggregation import vote
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.sparsity import masks, regrow, saliency, topk
from fedjax_sparse.types import Algorithm, Declared, Federation


def rigl(federation: Federation, hyper: ClientMovingMask) -> Algorithm:
    """Masks that move along the gradient, at every client for itself.

    Rounds t with t mod `adjust_every` = 0, while f(t) > 0; other rounds are averaging under the mask m:

        client i   trains `adjust_after` passes under m, then moves its mask in every layer l, k = int(f(t) n_l):
                   m_i = m without its k smallest |w|, and with the k largest |g| of all that is then outside,
                   the just dropped included; g the dense gradient on the batch of the coming step
                   trains the rest under m_i: what is new starts at 0, what was dropped and grown again keeps its value
        server     w = sum_i p_i w_i;  m = the n_l largest |w| of each layer inside the union of the m_i;  w = m * w

        f(t) = `drop_fraction` / 2 (1 + cos(pi t / `adjust_until`)),  0 from there on

    n_l: kept by layer, ERK unless stated, counted layer by layer; the first mask is random. Momentum, where clients
    have it, starts at zero for what is new; the gradient is masked before it is clipped.

    State: the server's mask; each client knows which mask it last got. Costs: living values both ways, with positions
    down to clients that do not know the mask, and up in rounds in which it moved. The gradient that decides counts as a
    pass over its batch under the mask (that it is dense in the kernels is not counted).

    Departures. No source settles RigL in a federation; this is the client-side rule of FedPruning (`feddst` there,
    which is not FedDST), whose code trains no step before the move (`adjust_after` 0). There what clients send still
    holds one dense step outside the mask, which the next forward pass hides; here it is masked. RigL itself skips the
    gradient step of a move, breaks ties by noise and starts at a share of 0.3. `exclude_dropped` keeps what was just
    dropped out.

    References:
        Evci et al., Rigging the Lottery: Making All Tickets Winners (arXiv 1911.11134).
    """
    gradient = make_gradient(federation.loss)

    def steepest(variables, batch, key):
        del key
        return jax.tree.map(jnp.abs, gradient(variables, batch)[2])

    return _moving_at_clients(federation, hyper, steepest, looks=1)


def sparse_evolutionary_training(federation: Federation, hyper: ClientMovingMask) -> Algorithm:
    """Like `rigl`, but what grows is drawn uniformly among all that is outside the mask.

    Departures: as of `rigl`; in RigL's code of SET the just dropped may grow again, in textbooks not
    (`exclude_dropped`).

    References:
        Mocanu et al., Scalable Training of Artificial Neural Networks with Adaptive Sparse Connectivity Inspired by
        Network Science (arXiv 1707.04780).
    """

    def anything(variables, batch, key):
        del batch
        return saliency.random(key, variables.params)

    return _moving_at_clients(federation, hyper, anything, looks=0)


def _moving_at_clients(
    federation: Federation, hyper: ClientMovingMask, score: Callable, looks: int
) -> Algorithm:
    """`score(variables, batch, key)` says what grows, at the cost of so many passes over the batch."""
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    counts, kept = layer_counts(federation, hyper, among)
    drops, due_at = replaced(federation, hyper, counts)
    plan = federation.plan

    def due(t):
        return due_at[t]

    def after_some_passes(client):
        return jnp.minimum(
            hyper.adjust_after * plan.steps_per_pass(client.count), plan.total_steps(client.count)
        )

    def move(variables, mask, batch, client, t, key):
        del client
        scores = score(variables, batch, key)
        if hyper.exclude_dropped:
            scores = jax.tree.map(lambda live, leaf: jnp.where(live, -jnp.inf, leaf), mask, scores)
        _, new, _ = regrow.prune_and_regrow(variables.params, mask, scores, drops[t], among)
        return masks.intersect(mask, new), new

    when = after_some_passes if hyper.adjust_after else "start"
    local = train_and_move(federation, ClientMove(due, when, move, looks))

    def work(server, own, client, t, key):
        trained, mask = local(server.variables, server.mask, client, t, key)
        step = weighted_step(trained.variables, server.variables, client.weight)
        votes = jax.tree.map(lambda keep: keep.astype(jnp.int32), mask)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(server.mask)))
        return (step, votes), own, (report, upload(federation, mask, among, unknown=due(t)))

    def merge(server, sent, cohort, t, key):
        del key
        total, votes = sent
        variables, opt = server_step(
            federation.server_optimizer, server.variables, server.opt, total, cohort.weight
        )

        def best_of_all():
            union = vote(votes, 1)
            return topk.largest_per_leaf(saliency.magnitude(variables.params), counts, among, union)

        mask = jax.lax.cond(due(t) & jnp.any(cohort.present), best_of_all, lambda: server.mask)
        return under(federation, server._replace(variables=variables, opt=opt), mask)

    rule = Rule(functools.partial(random_mask, counts=counts, among=among), work, merge)
    promise = Declared("server", "bounded", lambda t: kept, among)  # what has just grown is still zero
    return averaging_under_a_moving_mask(
        federation, rule, among, (promise, promise._replace(what="deployed"))
    )
