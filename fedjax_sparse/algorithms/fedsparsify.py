"""FedSparsify: progressive pruning by magnitude, at the server or at the clients, and what it is compared with."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_sparse import errors, trees
from fedjax_sparse.clients.local_training import in_sequence, make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.fedsparsify import (
    FedSparsifyGlobal,
    FedSparsifyLocal,
    GradualPruning,
    OneShotPruning,
    Pruning,
    RandomPruning,
)
from fedjax_sparse.costs.counts import Report, subset_message, training_work
from fedjax_sparse.server.aggregation import mean_over_holders, vote, weighted_mean
from fedjax_sparse.server.optimizer import mask_moments, server_step, step_along
from fedjax_sparse.sparsity import masks, saliency, schedules, topk
from fedjax_sparse.types import (
    Algorithm,
    Declared,
    Federation,
    Message,
    Metrics,
    PyTree,
    Ranking,
    State,
    Variables,
)


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


class _Rule(NamedTuple):
    """How much is pruned in which round, and how.

    Attributes:
        among: Python bool for each leaf: where pruning is allowed.
        prunable: N, the entries of those leaves.
        kept: Entries kept after rounds 0..T, i32[T + 1], or by leaf, i32[T + 1, L].
        prune: (mask, scores, t) -> the part of the mask with the largest scores, and how far these decided it.
        exact: Whether `prune` keeps exactly `kept`.
        freeze_from: The round from which entries that are zero leave the mask; None for never.
        keep_momentum: Whether clients keep their momentum from round to round.
    """

    among: PyTree
    prunable: int
    kept: np.ndarray
    prune: Callable[[PyTree, PyTree, jax.Array], tuple[PyTree, Ranking]]
    exact: bool
    freeze_from: int | None
    keep_momentum: bool


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
    the code keeps every tie (`keep_ties`); and an explicit mask is carried, where the code takes "value is not zero"
    for a mask and so freezes biases that happen to be zero (`mask_from_values`). s_t N is exact, where the code's
    float64 at times prunes one less, 28 and not 29 of 100 at 0.29 (`counting` "float64"). The code's clients keep their
    momentum from round to round (`keep_momentum`, as the paper's runs do); unless asked for, each round starts without,
    since it is a state of the size of the model for every client. Where the code uses momentum for CIFAR-100 it is
    Nesterov's (`--client-nesterov`). Its initial weights are Keras's (`--model vgg16:init=glorot`). Not restored: it
    divides Fashion-MNIST by 256, and standardises the CIFAR test set by that set's own statistics.

    References:
        Stripelis et al., Federated Progressive Sparsification (Purge, Merge, Tune)+ (arXiv 2204.12430).
    """
    rule = _rule(federation, hyper, _gradual(federation, hyper), hyper.start_round)
    return _server_pruning(federation, rule, _no_order, _magnitude)


def random_pruning(federation: Federation, hyper: RandomPruning) -> Algorithm:
    """FedSparsify's schedule with one random order of the parameters in place of their magnitudes.

    The order is drawn once, so masks are nested, and has no ties, so N - int(s_t N) entries survive. Departures: as of
    `fedsparsify_global`, but for ties. References: the "Random" baseline of arXiv 2204.12430.
    """
    rule = _rule(federation, hyper, _gradual(federation, hyper), hyper.start_round)
    return _server_pruning(
        federation, rule, lambda params, key: saliency.random(key, params), lambda params, order: order
    )


def one_shot_pruning(federation: Federation, hyper: OneShotPruning) -> Algorithm:
    """FedSparsify-Global with all the pruning at once: after round T - 10 unless stated, the rest is fine-tuning.

    Pruning after round T is one-shot pruning without fine-tuning. The paper's runs start at 190 of 200 rounds; taken as
    the t0 of `fedsparsify_global`, after which round t0 + 1 is the first to prune, that would be `prune_round` 191.
    Departures: as of `fedsparsify_global`. References: the "OneShot" baseline of arXiv 2204.12430.
    """
    last = federation.rounds
    first = max(1, last - 10) if hyper.prune_round is None else hyper.prune_round
    errors.check_range("--prune-round", first, 1, last)
    sparsities = schedules.one_shot(np.arange(last + 1), final=hyper.sparsity, start=first)
    return _server_pruning(federation, _rule(federation, hyper, sparsities, first), _no_order, _magnitude)


def fedsparsify_local(federation: Federation, hyper: FedSparsifyLocal) -> Algorithm:
    """Clients purge what they have trained; what enough of them kept stays.

    Round t = 1..T, with mask m (all ones at first), sparsity s_t as in `fedsparsify_global`, and K clients:

        w_i = local SGD from w under m, for each client i                        tune
        m_i = the N - int(s_t N) largest |w_i| within m;  w_i = m_i * w_i         purge, when t > t0
        w_i = `fine_tuning_epochs` more epochs of local SGD from w_i under m_i   tune again
        m   = the entries in at least ceil(K/2) of the masks m_i                 vote
        w   = m * sum_i p_i w_i                                                  merge

    Votes count equally; zeros of clients that voted against count in the mean (`mean_over` "all") or do not
    ("voters"). Where clients disagree m is far sparser than s_t, and where they partly agree it is denser, with up to
    2 (N - int(s_t N)) entries; it never grows, and stays as it is in a round in which nobody came. The further epochs
    of fine-tuning are counted as work under m.

    Clients send m_i with positions among those of m. The server sends m with positions, since a client does not know
    what was purged while it was away.

    Departures from the official code: it takes floor(K/2) votes for a majority (`vote_threshold` "floor", 1 where
    that is 0), so that with an odd K a minority keeps an entry; its code of the fine-tuning cannot run, and what is
    done here is what it says; and those of `fedsparsify_global`.

    References:
        Stripelis et al., Federated Progressive Sparsification (Purge, Merge, Tune)+ (arXiv 2204.12430).
    """
    optimizer = federation.server_optimizer
    rule = _rule(federation, hyper, _gradual(federation, hyper), hyper.start_round)
    work = _train_and_purge(federation, hyper, rule)

    def round_fn(state, cohort, t, key):
        server = state.server
        (total, votes, weights), client_states, (report, own, ranking) = federation.over_clients(
            work, (server, t), state.client, cohort, key
        )
        mean = weighted_mean(total, cohort.weight)
        if hyper.mean_over == "voters":
            mean = mean._replace(params=mean_over_holders(total.params, weights))
        voters = jnp.sum(cohort.present)
        someone = voters > 0
        threshold = jnp.maximum(voters // 2, 1) if hyper.vote_threshold == "floor" else (voters + 1) // 2
        variables, opt = step_along(optimizer, server.variables, server.opt, mean, someone)
        mask = trees.where(someone, vote(votes, threshold), server.mask)
        living = masks.count(server.mask, rule.among)
        up = _message(federation, rule, own, living, cohort.present)
        down = _message(federation, rule, living, rule.prunable, cohort.invited)
        server = _under(mask, server._replace(variables=variables, opt=opt), optimizer, rule, t)
        return State(server, client_states), Metrics(up, down, report.work, report.loss, {}, ranking)

    server = Declared("server", "measured", None, rule.among)
    upload = _promise("upload", "measured" if hyper.keep_ties else "bounded", rule)
    declared = (server, server._replace(what="deployed"), upload)
    return _algorithm(federation, rule, _no_order, round_fn, declared)


def _train_and_purge(federation: Federation, hyper: FedSparsifyLocal, rule: _Rule) -> Callable:
    """A client's work in `fedsparsify_local`; sends a weighted step, votes and, for a mean over voters, weights."""
    gradient = make_gradient(federation.loss)
    plan, voters_only = federation.plan, hyper.mean_over == "voters"

    def train_under(mask, variables, client, t, key, **options):
        return federation.train(
            gradient, variables, client, t, key, functools.partial(masks.apply, mask), **options
        )

    def fine_tune(purged, own, client, t, key):
        first = plan.total_steps(client.count)
        epochs = jnp.where(t > hyper.start_round, hyper.fine_tuning_epochs, 0)
        end = first + epochs * plan.steps_per_pass(client.count)
        moments = purged.moments if rule.keep_momentum else None
        more = train_under(own, purged.variables, client, t, key, steps=(first, end), moments=moments)
        return in_sequence(purged, more)

    def work(shared, client_state, client, key):
        server, t = shared
        moments = client_state if rule.keep_momentum else None
        trained = train_under(server.mask, server.variables, client, t, key, moments=moments)
        own, ranking = rule.prune(server.mask, saliency.magnitude(trained.variables.params), t)
        trained = trained._replace(variables=masks.model_under(trained.variables, own))
        if hyper.fine_tuning_epochs:
            trained = fine_tune(trained, own, client, t, key)
        step = weighted_step(trained.variables, server.variables, client.weight)
        weights = ()
        if voters_only:
            step = masks.model_under(step, own)
            weights = trees.scale(masks.apply(own, trees.ones_like(step.params)), client.weight)
        votes = jax.tree.map(lambda keep: keep.astype(jnp.int32), own)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(server.mask)))
        kept = trained.moments if rule.keep_momentum else ()
        return (step, votes, weights), kept, (report, masks.count(own, rule.among), ranking)

    return work


def _server_pruning(federation: Federation, rule: _Rule, draw_order: Callable, score: Callable) -> Algorithm:
    """Pruning of the merged model; `score(params, order)` ranks the parameters, and the largest are kept."""
    gradient = make_gradient(federation.loss)
    optimizer = federation.server_optimizer
    kept_at = jnp.asarray(rule.kept)

    def work(shared, client_state, client, key):
        server, t = shared
        project = functools.partial(masks.apply, server.mask)
        moments = client_state if rule.keep_momentum else None
        trained = federation.train(gradient, server.variables, client, t, key, project, moments=moments)
        step = weighted_step(trained.variables, server.variables, client.weight)
        live = trees.count_nonzero(server.mask)
        kept = trained.moments if rule.keep_momentum else ()
        return step, kept, Report(trained.loss, training_work(trained, live))

    def purge(server, t):
        scores = score(server.variables.params, server.order)
        fewer = jnp.any(kept_at[t] < kept_at[t - 1])
        mask, ranking = jax.lax.cond(
            fewer,
            lambda: rule.prune(server.mask, scores, t),
            lambda: (server.mask, Ranking(jnp.int32(0), jnp.int32(0))),
        )
        return _under(mask, server, optimizer, rule, t), ranking

    def round_fn(state, cohort, t, key):
        server = state.server
        total, client_states, report = federation.over_clients(work, (server, t), state.client, cohort, key)
        variables, opt = server_step(optimizer, server.variables, server.opt, total, cohort.weight)
        living = masks.count(server.mask, rule.among)
        # The server knows the mask it sent; a client does not know which weights were purged since it last took part.
        up = _message(federation, rule, living, living, cohort.present)
        down = _message(federation, rule, living, rule.prunable, cohort.invited)
        server, ranking = purge(server._replace(variables=variables, opt=opt), t)
        return State(server, client_states), Metrics(up, down, report.work, report.loss, {}, ranking)

    promise = _promise("server", "exact" if rule.exact else "measured", rule)
    declared = (promise, promise._replace(what="deployed"))  # they are one model
    return _algorithm(federation, rule, draw_order, round_fn, declared)


def _rule(federation: Federation, hyper: Pruning, sparsities: np.ndarray, start: int) -> _Rule:
    """The rule of a schedule of sparsities, f64[T + 1], whose masks count from round `start` on."""
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    sizes = masks.prunable_sizes(federation.params, among)
    exactly = hyper.counting == "exact"
    rule = schedules.floor_pruned if exactly else schedules.floor_pruned_in_float64
    table = functools.partial(schedules.kept_table, sparsities=sparsities, rule=rule)
    kept = np.stack([table(size) for size in sizes], axis=1) if hyper.layerwise else table(sum(sizes))
    kept_at = jnp.asarray(kept)
    largest = topk.largest_per_leaf if hyper.layerwise else topk.largest_global

    def prune(mask, scores, t):
        within = jax.tree.map(lambda keep, score: jnp.where(keep, score, -jnp.inf), mask, scores)
        chosen = largest(within, kept_at[t], among)
        if hyper.keep_ties:
            chosen = masks.with_ties(chosen, within, among, layerwise=hyper.layerwise)
        kept = masks.intersect(
            chosen, mask
        )  # where less lives than may be kept, dead entries were chosen too
        return kept, masks.ranking(within, kept, among, layerwise=hyper.layerwise)

    exact = not (hyper.keep_ties or hyper.mask_from_values)
    freeze_from = start if hyper.mask_from_values else None
    return _Rule(among, sum(sizes), kept, prune, exact, freeze_from, hyper.keep_momentum)


def _gradual(federation: Federation, hyper: GradualPruning) -> np.ndarray:
    """Sparsity after rounds 0..T, f64[T + 1]."""
    if hyper.start_round >= federation.rounds:
        raise errors.UsageError(
            f"--start-round = {hyper.start_round} leaves no round to prune after with --rounds = {federation.rounds}; "
            f"allowed: 0 to {federation.rounds - 1}"
        )
    errors.check_range("--initial-sparsity", hyper.initial_sparsity, 0, hyper.sparsity)
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
    if (reached := curve[-1]) < hyper.sparsity:
        last = federation.rounds - federation.rounds % hyper.frequency
        pruning = (
            f"the last pruning, after round {last}," if last > hyper.start_round else "no pruning at all"
        )
        warnings.warn(
            f"--frequency = {hyper.frequency} does not divide --rounds = {federation.rounds}: {pruning} leaves a "
            f"sparsity of {reached:.6g}, not --sparsity = {hyper.sparsity}",
            stacklevel=2,
        )
    return np.where(t > hyper.start_round, curve, 0)


def _no_order(params: PyTree, key: jax.Array) -> tuple[()]:
    del params, key
    return ()


def _magnitude(params: PyTree, order: tuple[()]) -> PyTree:
    del order
    return saliency.magnitude(params)


def _under(
    mask: PyTree, server: Server, optimizer: optax.GradientTransformation, rule: _Rule, t: jax.Array
) -> Server:
    """The server's model and moments under a new mask."""
    if rule.freeze_from is not None:
        alive = masks.intersect(mask, masks.nonzero(server.variables.params, rule.among))
        mask = trees.where(t >= rule.freeze_from, alive, mask)
    opt = mask_moments(optimizer, server.opt, mask)
    return Server(masks.model_under(server.variables, mask), opt, mask, server.order)


def _message(
    federation: Federation, rule: _Rule, chosen: jax.Array, positions: jax.Array | int, sent: jax.Array
) -> Message:
    """`chosen` prunable entries at some of `positions` places, and everything that is never pruned."""
    whole = trees.size(federation.params) + federation.stats_size
    return subset_message(whole, chosen, positions, sent, beside=whole - rule.prunable)


def _promise(what: Any, how: Any, rule: _Rule) -> Declared:
    """A promise about the number of entries that the rule keeps."""
    kept = None if how == "measured" else lambda t: int(np.sum(rule.kept[t]))
    return Declared(what, how, kept, rule.among)


def _algorithm(
    federation: Federation,
    rule: _Rule,
    draw_order: Callable,
    round_fn: Callable,
    declared: tuple[Declared, ...],
) -> Algorithm:
    """What all variants share beside the round: where it starts and what is deployed."""

    def init(variables, key):
        params = variables.params
        opt = federation.server_optimizer.init(params)
        return Server(variables, opt, masks.ones(params), draw_order(params, key))

    def init_momentum(variables, key):
        del key
        return federation.client_optimizer(0.0).init(variables.params)

    def model(server, client_state):
        del client_state
        return server.variables

    init_client = init_momentum if rule.keep_momentum else no_client_state
    return Algorithm(init, init_client, None, round_fn, model, None, declared)
