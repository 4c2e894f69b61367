"""SpaFL: clients keep their weights and share thresholds, trained beside them, below which whole filters are off."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import Gradient, make_gradient
from fedjax_sparse.config.cards.spafl import SpaFL
from fedjax_sparse.costs.counts import Report, sparse_message
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.sparsity import masks
from fedjax_sparse.types import (
    Algorithm,
    Cohort,
    Declared,
    Federation,
    Message,
    Metrics,
    PyTree,
    State,
    Variables,
    Work,
)


class Server(NamedTuple):
    """What the server keeps; clients that were away answer to what they missed.

    Attributes:
        thresholds: After rounds 0, ..., T: f[T + 1, R] for each pruned leaf of R filters.
        round: i32[], the last one that took place; what stands beyond it means nothing.
    """

    thresholds: list[jax.Array]
    round: jax.Array


class Own(NamedTuple):
    """What one client keeps.

    Attributes:
        variables: Its model, in which nothing is masked.
        thresholds: As it trained them, f[R] for each pruned leaf: what it deploys is masked by them.
        answered: i32[], the round up to which its weights have answered to changes of the server's thresholds.
    """

    variables: Variables
    thresholds: list[jax.Array]
    answered: jax.Array


def spafl(federation: Federation, hyper: SpaFL) -> Algorithm:
    """Filters whose mean weight is below a trained threshold are off; thresholds alone are averaged.

    A filter r is one output channel of a kernel, w_r its n_r weights. Round t, for each client i of the cohort S, which
    trains its weights and the received thresholds tau together:

        m_r      = 1[mean_j |w_rj| - tau_r > 0]
        w, tau_i = local SGD from (w, tau) on loss(m * w) + `threshold_penalty` sum_r exp(-tau_r)
        tau'     = sum_i in S tau_i / |S|;   D = tau' - tau
        w_r      = w_r - D_r sign(sum_j w_rj) / area_r     (all N clients)

    The derivative of the step is taken as 1, so that with s_r = sum_j g_rj w_rj, g the gradient at m * w,

        d / dw_rj = g_rj m_r + s_r sign(w_rj) / n_r,   d / dtau_r = -s_r - `threshold_penalty` exp(-tau_r)

    area is that of a convolution's kernel, and the number of inputs in a dense layer.

    State: of the server the thresholds after each round, at first 0; of each client its weights, statistics and own
    thresholds. Whoever is away answers to the changes D one after the other, when it is next asked or tested. Deployed
    is m_i * w_i, with the thresholds that the client itself trained last. There is no model of the server.

    Costs: one scalar of each filter both ways, and D to all N clients, which is counted in equal shares with what the
    clients of the cohort receive. Weights' gradients are counted whole, since thresholds need them.

    Departures: the official codes warm the penalty up (it is whole from round 1 on with their settings) and reset the
    thresholds of a layer of which at most 1 % is on; here they are left. That for Fashion-MNIST keeps one optimiser for
    the whole run, here each round has a new one, as in that for CIFAR, which passes the step's gradient on only where
    the mean and its threshold are more than 1 apart (`window`).

    References:
        Kim et al., SpaFL: Communication-Efficient Federated Learning with Sparse Models and Low Computational Overhead
        (NeurIPS 2024, arXiv 2406.00431).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    gradient = joint_gradient(federation, hyper, among)

    def nothing(params):
        leaves = zip(jax.tree.leaves(params), jax.tree.leaves(among), strict=True)
        return [jnp.zeros(leaf.shape[-1:], leaf.dtype) for leaf, yes in leaves if yes]

    def init(variables, key):
        del key
        rows = federation.rounds + 1
        history = [jnp.zeros((rows, *taus.shape), taus.dtype) for taus in nothing(variables.params)]
        return Server(history, jnp.int32(0))

    def init_client(variables, key):
        del key
        return Own(variables, nothing(variables.params), jnp.int32(0))

    def work(shared, own, client, key):
        server, t = shared
        weights = answers(own.variables.params, server.thresholds, own.answered, server.round, among)
        thresholds = jax.tree.map(lambda leaf: leaf[server.round], server.thresholds)
        live = trees.count_nonzero(filter_mask(weights, thresholds, among))
        start = Variables((weights, thresholds), own.variables.stats)
        trained = federation.train(gradient, start, client, t, key)
        (weights, thresholds), stats = trained.variables
        whole = jnp.asarray(trees.sizes(weights), jnp.int32)
        report = Report(trained.loss, Work(trained.examples, trained.steps, live, live, whole))
        return thresholds, Own(Variables(weights, stats), thresholds, server.round), report

    def round_fn(state, cohort, t, key):
        server = state.server
        total, clients, report = federation.over_clients(work, (server, t), state.client, cohort, key)
        mean, last = weighted_mean(total, cohort.present.astype(jnp.float32)), server.round
        someone = jnp.any(cohort.present)
        history = jax.tree.map(
            lambda rows, new: rows.at[last + 1].set(jnp.where(someone, new, rows[last])),
            server.thresholds,
            mean,
        )
        up, down = _messages(federation, trees.size(mean), cohort)
        return State(Server(history, last + 1), clients), Metrics(up, down, report.work, report.loss, {})

    def model(server, own):
        weights = answers(own.variables.params, server.thresholds, own.answered, server.round, among)
        mask = filter_mask(weights, own.thresholds, among)
        return masks.model_under(own.variables._replace(params=weights), mask)

    declared = (Declared("personal", "measured", None, among),)
    return Algorithm(init, init_client, None, round_fn, model, None, declared, personal=True)


def joint_gradient(federation: Federation, hyper: SpaFL, among: PyTree) -> Gradient:
    """The gradient with respect to (weights, thresholds); the loss beside it is without the penalty."""

    def under_step(leaf, taus):
        return leaf * jnp.broadcast_to(_step(_margin(leaf, taus), hyper.window), leaf.shape)

    def loss(variables, batch):
        (weights, thresholds), stats = variables
        masked = by_leaf(under_step, among, weights, thresholds)
        return federation.loss(Variables(masked, stats), batch)

    gradient = make_gradient(loss)

    def penalised(variables, batch):
        value, stats, (of_weights, of_thresholds) = gradient(variables, batch)
        of_thresholds = jax.tree.map(
            lambda grad, taus: grad - hyper.threshold_penalty * jnp.exp(-taus),
            of_thresholds,
            variables.params[1],
        )
        return value, stats, (of_weights, of_thresholds)

    return penalised


def by_leaf(
    function: Callable[[jax.Array, jax.Array], jax.Array],
    among: PyTree,
    weights: PyTree,
    thresholds: list[jax.Array],
    other: Callable[[jax.Array], jax.Array] = lambda leaf: leaf,
) -> PyTree:
    """A function of each chosen leaf and its thresholds, and another one of all that are not chosen."""
    leaves, treedef = jax.tree.flatten(weights)
    of_leaf = iter(thresholds)
    parts = zip(leaves, jax.tree.leaves(among), strict=True)
    return treedef.unflatten([function(leaf, next(of_leaf)) if yes else other(leaf) for leaf, yes in parts])


def filter_mask(weights: PyTree, thresholds: list[jax.Array], among: PyTree) -> PyTree:
    """The weights of filters that are on, and all of the leaves not chosen."""

    def on(leaf, taus):
        return jnp.broadcast_to(_margin(leaf, taus) > 0, leaf.shape)

    return by_leaf(on, among, weights, thresholds, lambda leaf: jnp.ones_like(leaf, bool))


def _margin(leaf: jax.Array, thresholds: jax.Array) -> jax.Array:
    """f[R]: by how much the mean |weight| of each filter is above its threshold."""
    return jnp.mean(jnp.abs(leaf), axis=tuple(range(leaf.ndim - 1))) - thresholds


def _step(margin: jax.Array, window: str) -> jax.Array:
    """1 above zero, else 0, with derivative 1 or, with a window "outside-one", 0 where |margin| is at most 1."""
    straight = margin if window == "always" else jnp.where(jnp.abs(margin) > 1, margin, 0)
    return (margin > 0) + (straight - jax.lax.stop_gradient(straight))


def answers(
    weights: PyTree, history: list[jax.Array], first: jax.Array, last: jax.Array, among: PyTree
) -> PyTree:
    """The weights after their answers to the thresholds' changes of rounds first + 1, ..., last, one after the other.

    All weights of a filter move alike, and only the sign of their sum decides where to: what is followed through the
    rounds is one number of each filter.

    Args:
        weights: As they were after round `first`.
        history: Thresholds after each round, see `Server`.
        first: i32[].
        last: i32[].
        among: Python bool for each leaf.
    """

    def answered(leaf, taus):
        taus, inputs = jnp.asarray(taus), leaf.size // leaf.shape[-1]
        area = math.prod(leaf.shape[:-2]) if leaf.ndim > 2 else inputs

        def answer(t, carry):
            total, moved = carry
            change = (taus[t] - taus[t - 1]) * jnp.sign(total) / area
            return total - inputs * change, moved - change

        total = jnp.sum(leaf, axis=tuple(range(leaf.ndim - 1)))
        _, moved = jax.lax.fori_loop(first + 1, last + 1, answer, (total, jnp.zeros_like(total)))
        return leaf + jnp.broadcast_to(moved, leaf.shape)

    return by_leaf(answered, among, weights, history)


def _messages(federation: Federation, scalars: int, cohort: Cohort) -> tuple[Message, Message]:
    """Up the thresholds; down the thresholds, and to each place its share of what all N clients are told."""
    whole = trees.size(federation.params) + federation.stats_size
    up = sparse_message(whole, scalars, cohort.present, located=0, universe=0)
    invited = jnp.sum(cohort.invited, dtype=jnp.int32)
    share, rest = jnp.divmod(jnp.int32(federation.population), jnp.maximum(invited, 1))
    told = share + (jnp.cumsum(cohort.invited) <= rest)
    values = scalars * (1 + told)
    down = sparse_message(jnp.maximum(whole, values), values, cohort.invited, located=0, universe=0)
    return up, down
