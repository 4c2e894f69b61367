"""FedSparsify: progressive pruning of the server's model by magnitude, and its rival, pruning at random."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.accounting import Report, sparse_message, training_work
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.hyperparameters import FedSparsifyGlobal, RandomPruning
from fedjax_sparse.server.optimizer import mask_moments, server_step, weighted_step
from fedjax_sparse.sparsity import masks, saliency, schedules, topk
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, PyTree, State, Variables


class Server(NamedTuple):
    """What the server keeps.

    Attributes:
        variables: The model; its parameters are zero outside the mask.
        opt: The server optimiser's state, zero outside the mask.
        mask: Which parameters live; never grows.
        order: A fixed random score for each parameter where pruning is random; `()` where it is by magnitude.
    """

    variables: Variables
    opt: PyTree
    mask: PyTree
    order: PyTree


def fedsparsify_global(federation: Federation, hyper: FedSparsifyGlobal) -> Algorithm:
    """Federated averaging; after each merge the server purges the smallest weights, more of them as rounds pass.

    Round t = 1..T, with mask m (all ones at first) and sparsity s_t:

        w_i = local SGD from w under m, for each client i          tune: only living weights move
        w   = sum_i p_i w_i                                        merge
        m   = the N - int(s_t N) largest |w| within m;  w = m * w   purge, when t > t0

        s_t = s_T + (s_0 - s_T) (1 - (f floor(t/f) - t0) / (T - t0))^n

    `hyper.sparsity` is s_T, `initial_sparsity` s_0, `frequency` f, `start_round` t0, `exponent` n. N counts every
    trainable scalar: kernels, biases, norm scales and shifts (`scope="all"`), in one ranking over all layers.

    Departures from the official code: exactly N - int(s_t N) weights survive, ties going to the lower index, where
    the code keeps every tie; and an explicit mask is carried, where the code takes "value is not zero" for a mask and
    so freezes biases that happen to be zero.

    References:
        Stripelis et al., Federated Progressive Sparsification (Purge, Merge, Tune)+ (arXiv 2204.12430).
    """
    return _progressive_pruning(
        federation, hyper, lambda params, key: (), lambda params, order: saliency.magnitude(params)
    )


def random_pruning(federation: Federation, hyper: RandomPruning) -> Algorithm:
    """FedSparsify's schedule with one random order of the parameters in place of their magnitudes.

    The order is drawn once, so masks are nested. References: the "Random" baseline of arXiv 2204.12430.
    """
    return _progressive_pruning(
        federation, hyper, lambda params, key: saliency.random(key, params), lambda params, order: order
    )


def _progressive_pruning(
    federation: Federation,
    hyper: FedSparsifyGlobal | RandomPruning,
    draw_order: Callable[[PyTree, jax.Array], PyTree],
    score: Callable[[PyTree, PyTree], PyTree],
) -> Algorithm:
    """The shared loop; `score(params, order)` ranks the parameters, and the largest are kept."""
    gradient = make_gradient(federation.loss)
    optimizer = federation.server_optimizer
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    kept, select = _selection(federation, hyper, among)
    kept_at = jnp.asarray(kept)
    size, stats_size = trees.size(federation.params), federation.stats_size

    def init(variables, key):
        params = variables.params
        return Server(variables, optimizer.init(params), masks.ones(params), draw_order(params, key))

    def work(shared, client_state, client, key):
        server, t = shared
        project = functools.partial(masks.apply, server.mask)
        trained = federation.train(gradient, server.variables, client, t, key, project)
        step = weighted_step(trained.variables, server.variables, client.weight)
        live = trees.count_nonzero(server.mask)
        return step, client_state, Report(trained.loss, training_work(trained, live))

    def purge(server, t):
        scores = score(server.variables.params, server.order)
        within = jax.tree.map(lambda keep, s: jnp.where(keep, s, -jnp.inf), server.mask, scores)
        fewer = jnp.any(kept_at[t] < kept_at[t - 1])
        mask = jax.lax.cond(fewer, lambda: select(within, kept_at[t]), lambda: server.mask)
        variables = server.variables._replace(params=masks.apply(mask, server.variables.params))
        return Server(variables, mask_moments(optimizer, server.opt, mask), mask, server.order)

    def round_fn(state, cohort, t, key):
        server = state.server
        total, client_states, report = federation.over_clients(work, (server, t), state.client, cohort, key)
        variables, opt = server_step(optimizer, server.variables, server.opt, total, cohort.weight)
        living = jnp.sum(trees.count_nonzero(server.mask))
        whole, values = size + stats_size, living + stats_size
        # The server knows the mask it sent; a client does not know which weights were purged since it last took part.
        up = sparse_message(whole, values, cohort.present, located=0, universe=0)
        down = sparse_message(whole, values, cohort.invited, located=living, universe=size)
        server = purge(server._replace(variables=variables, opt=opt), t)
        return State(server, client_states), Metrics(up, down, report.work, report.loss, {})

    def model(server, client_state):
        del client_state
        return server.variables

    promise = Declared("server", "exact", lambda t: int(np.sum(kept[t])), among)
    declared = (promise, promise._replace(what="deployed"))  # they are one model
    return Algorithm(init, no_client_state, None, round_fn, model, None, declared)


def _selection(
    federation: Federation, hyper: FedSparsifyGlobal | RandomPruning, among: PyTree
) -> tuple[np.ndarray, Callable[[PyTree, jax.Array], PyTree]]:
    """How many entries to keep after rounds 0..T, i32[T + 1] or by leaf i32[T + 1, L], and (scores, k) -> mask."""
    t = np.arange(federation.rounds + 1)
    curve = schedules.polynomial(
        t,
        federation.rounds,
        final=hyper.sparsity,
        initial=hyper.initial_sparsity,
        start=hyper.start_round,
        frequency=hyper.frequency,
        exponent=hyper.exponent,
    )
    sparsities = np.where(t > hyper.start_round, curve, 0)
    table = functools.partial(schedules.kept_table, sparsities=sparsities, rule=schedules.floor_pruned)
    leaves = zip(trees.sizes(federation.params), jax.tree.leaves(among), strict=True)
    sizes = [size if chosen else 0 for size, chosen in leaves]
    if hyper.layerwise:
        by_leaf = np.stack([table(size) for size in sizes], axis=1)
        return by_leaf, functools.partial(topk.largest_per_leaf, among=among)
    return table(sum(sizes)), functools.partial(topk.largest_global, among=among)
