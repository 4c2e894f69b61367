"""Scaffnew (ProxSkip for federated learning) and what pruning makes of it: one engine; each method is its switches."""

import warnings
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import errors, trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.config.cards.sparse_proxskip import RandProx, Scaffnew, SparseProxSkip, TopK, TopKScaffnew
from fedjax_sparse.costs.counts import dense_message, subset_message
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.sparsity import compression, masks, schedules
from fedjax_sparse.types import (
    Algorithm,
    Cohort,
    Declared,
    Federation,
    Message,
    Metrics,
    PyTree,
    State,
    Trained,
    Variables,
    Work,
)

# (round number t, key of the round) -> i32[], the local steps that end with its communication
LocalSteps = Callable[[jax.Array, jax.Array], jax.Array]


class Operator(NamedTuple):
    """A way to make a model sparse.

    Attributes:
        apply: (params, step size gamma) -> params.
        kept: How many of the prunable entries it leaves; None where their values decide.
    """

    apply: Callable[[PyTree, jax.Array], PyTree]
    kept: int | None = None


class Switches(NamedTuple):
    """A method of the family: where it applies which operator, if any. The defaults are Scaffnew.

    Attributes:
        among: bool for each parameter leaf (Python bools): what may be pruned.
        control: Whether clients keep control variates; without them h = 0 and the method is a FedAvg.
        ste: STE, the straight-through estimator: gradients are taken at the pruned model, the dense one moves.
        local: LOCAL, after every local step.
        upload: UPLOAD, before sending.
        server: SERVER, on the mean.
        reference: HREF, what control variates compare with: the mean of what was sent, or the server's new model.
        shift: Whether (gamma / p) h_i is taken off what is sent. The ProxSkip of a general regulariser does; when
            the h_i sum to zero it changes nothing.
        deploy: On the server's model before it is used, where that is not sparse enough by itself.
    """

    among: PyTree
    control: bool = True
    ste: Operator | None = None
    local: Operator | None = None
    upload: Operator | None = None
    server: Operator | None = None
    reference: Literal["mean", "model"] = "mean"
    shift: bool = False
    deploy: Operator | None = None


class Report(NamedTuple):
    """What one client reports: its mean loss f[], the work done, and the prunable entries i32[] that it sends."""

    loss: jax.Array
    work: Work
    values: jax.Array


def scaffnew(federation: Federation, hyper: Scaffnew, local_steps: LocalSteps | None = None) -> Algorithm:
    """Scaffnew: the dense parent; finds the exact minimiser however much the clients differ. See `proxskip`."""
    return _member(federation, hyper, Switches(_kernels(federation)), local_steps)


def sparse_proxskip(
    federation: Federation, hyper: SparseProxSkip, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Sparse-ProxSkip (reconstructed): every client prunes what it sends, TopK(x_i). See `proxskip`.

    v2 takes local gradients at the pruned model (straight-through estimator). What is deployed is TopK of the
    server's mean, which as a mean of different sparse models is denser; both are reported.
    """
    top_k, among = _top_k(federation, hyper)
    ste = top_k if hyper.variant == "v2" else None
    switches = Switches(among, ste=ste, upload=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def sparse_proxskip_local(
    federation: Federation, hyper: SparseProxSkip, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Sparse-ProxSkip-Local (reconstructed): every client prunes its model after every local step. See `proxskip`.

    v2 also takes gradients at the pruned model. That matters in a round's first step alone, which starts from the
    server's denser mean. Where v2 is read as pruning once, at the end of a round, it is v2 of `sparse_proxskip`.
    """
    top_k, among = _top_k(federation, hyper)
    ste = top_k if hyper.variant == "v2" else None
    switches = Switches(among, ste=ste, local=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def server_naive(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Scaffnew with TopK at the server, done naively: control variates follow the pruned model. See `proxskip`.

    They no longer sum to zero: the drift cancels the mean gradient of pruned entries, so that any sparse model can
    become a fixed point. This is FedComLoc-Global, too.
    """
    top_k, among = _top_k(federation, hyper)
    return _member(federation, hyper, Switches(among, server=top_k, reference="model"), local_steps)


def server_modified(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """Scaffnew with TopK at the server; control variates follow the mean before pruning. See `proxskip`.

    They sum to zero, but the fixed point is not a minimiser. Clients need the mean itself, so nothing is saved on the
    way down.
    """
    top_k, among = _top_k(federation, hyper)
    return _member(federation, hyper, Switches(among, server=top_k), local_steps)


def randprox_l1(federation: Federation, hyper: RandProx, local_steps: LocalSteps | None = None) -> Algorithm:
    """RandProx for min f(x) + lambda |x|_1: clients soft-threshold at gamma lambda after every step. See `proxskip`.

    `hyper.l1` is lambda. Converges to the exact minimiser of a convex problem; how sparse that is, lambda decides.
    """
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    return _member(federation, hyper, Switches(among, local=soft_threshold(hyper.l1, among)), local_steps)


def proxskip_l1(federation: Federation, hyper: RandProx, local_steps: LocalSteps | None = None) -> Algorithm:
    """ProxSkip for min f(x) + lambda |x|_1: the server soft-thresholds at gamma lambda / p. See `proxskip`.

    Exact as RandProx is, since the shift by (gamma / p) h_i is kept; the h_i then sum to a subgradient of the l1 norm
    instead of zero. Clients send dense models.
    """
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    threshold = soft_threshold(hyper.l1 / hyper.probability, among)
    switches = Switches(among, server=threshold, reference="model", shift=True)
    return _member(federation, hyper, switches, local_steps)


def fedcomloc_local(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """FedComLoc-Local: gradients are taken at TopK(x_i); models travel dense. See `proxskip`."""
    top_k, among = _top_k(federation, hyper)
    switches = Switches(among, ste=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def fedcomloc_com(
    federation: Federation, hyper: TopKScaffnew, local_steps: LocalSteps | None = None
) -> Algorithm:
    """FedComLoc-Com: what clients send is TopK(x_i). With TopK it is v1 of `sparse_proxskip`. See `proxskip`."""
    top_k, among = _top_k(federation, hyper)
    switches = Switches(among, upload=top_k, deploy=top_k)
    return _member(federation, hyper, switches, local_steps)


def fedavg_client_topk(federation: Federation, hyper: TopK) -> Algorithm:
    """FedAvg in which every client sends TopK of its model (not of its update); no control variates. See `proxskip`.

    Local work is that of the run, `--local-epochs` or `--local-steps`.
    """
    top_k, among = _top_k(federation, hyper)
    return proxskip(federation, Switches(among, control=False, upload=top_k, deploy=top_k))


def fedavg_server_topk(federation: Federation, hyper: TopK) -> Algorithm:
    """FedAvg in which the server prunes the mean to TopK in every round; no control variates. See `proxskip`.

    Local work is that of the run, `--local-epochs` or `--local-steps`.
    """
    top_k, among = _top_k(federation, hyper)
    return proxskip(federation, Switches(among, control=False, server=top_k))


def proxskip(
    federation: Federation,
    switches: Switches,
    probability: float = 1.0,
    local_steps: LocalSteps | None = None,
) -> Algorithm:
    """The engine. A round is the local steps up to and including the one that communicates.

    Round t, for each client i, which keeps h_i (zeros at first, shaped like the parameters); x is the server's model:

        x_i = x
        n times:  x_i = x_i - gamma (g_i(STE(x_i)) - h_i);  x_i = LOCAL(x_i)
        P_i = UPLOAD(x_i)                                  what is sent
        xbar = sum_i p_i P_i;  x = SERVER(xbar)
        h_i = h_i + (p / gamma) (HREF - P_i)               HREF = xbar, or x

    The p_i are the clients' weights, uniform by default; gamma is the clients' learning rate in round t, p the
    chance that a step communicates. One coin for all clients decides how many steps n a round has. Because the same
    P_i is in the mean and in the difference, sum_i p_i h_i = 0 stays true where HREF = xbar; that is what makes a
    fixed point a stationary point. Model statistics are averaged, nothing else. The server's own optimiser and, with
    a coin, the run's local epochs and steps are not used.

    | method | STE | LOCAL | UPLOAD | SERVER | HREF |
    | --- | --- | --- | --- | --- | --- |
    | scaffnew | - | - | - | - | xbar |
    | sparse-proxskip-server-naive, fedcomloc-global | - | - | - | TopK | x |
    | sparse-proxskip-server-modified | - | - | - | TopK | xbar |
    | sparse-proxskip v1, fedcomloc-com | - | - | TopK | - | xbar |
    | sparse-proxskip v2 | TopK | - | TopK | - | xbar |
    | sparse-proxskip-local v1 | - | TopK | - | - | xbar |
    | sparse-proxskip-local v2 | TopK | TopK | - | - | xbar |
    | randprox-l1 | - | soft | - | - | xbar |
    | proxskip-l1 | - | - | - | soft, of the mean of P_i - (gamma / p) h_i | x |
    | fedcomloc-local | TopK | - | - | - | xbar |
    | fedavg-client-topk (h = 0) | - | - | TopK | - | - |
    | fedavg-server-topk (h = 0) | - | - | - | TopK | - |

    TopK keeps the k largest weights of all prunable leaves together: kernels, or everything with `scope="all"`. With
    `layerwise` every leaf keeps its own share: where layers start from different scales, one ranking can empty a layer
    at the first TopK, and LOCAL, which prunes after every step, never lets it come back.

    State. Server: the model. Clients: h_i, never sent. Up go the k weights of P_i with their positions, and what is
    not prunable; down goes x, counted by its non-zeros (xbar where clients need it before pruning). With partial
    participation, absent clients keep their h_i; the h_i of a cohort do not sum to zero, so its mean is biased
    and the method is no longer exact. Clients are taken to learn HREF at the end of the round, as part of the next
    round's download.

    Reconstructed: no official code exists, and the papers do not state everything. Placing TopK by these switches,
    ranking all layers together, pruning kernels only and deploying TopK of the mean are our reading.

    FLOPs count live entries where gradients are taken: with LOCAL, a round's first step starts from the denser x,
    so live entries are averaged over its steps, rounded up. Gradients with respect to weights are dense.

    Args:
        federation: Where to run.
        switches: Which method.
        probability: p, in (0, 1]; not read without control variates.
        local_steps: How many local steps each round takes; None for those of the run.

    References:
        Mishchenko et al., ProxSkip (arXiv 2202.09357); Condat and Richtarik, RandProx (arXiv 2207.12891);
        Meinhardt et al., Sparse-ProxSkip (arXiv 2405.20623); Yi et al., FedComLoc (arXiv 2403.09904).
    """
    if switches.control:
        _warn_of_partial_participation(federation)

    work = _client_work(federation, switches, probability)

    def round_fn(state, cohort, t, key):
        # The coin's key is that of nobody's id: every client sees the same coin, and draws its own batches.
        steps = (
            None if local_steps is None else local_steps(t, jax.random.fold_in(key, federation.population))
        )
        gamma = federation.client_rate(t)
        shared = (state.server, _live(switches, state.server.params, gamma), t, steps)
        total, sent, report = federation.over_clients(work, shared, state.client, cohort, key)
        someone = jnp.any(cohort.present)
        mean = trees.where(someone, weighted_mean(total, cohort.weight), state.server)
        # When nobody came there was no step: its size is 0.
        server = mean._replace(params=_prune(switches.server, mean.params, jnp.where(someone, gamma, 0)))
        up, down = _messages(federation, switches, state.server, report.values, cohort)
        if not switches.control:
            return State(server, state.client), Metrics(up, down, report.work, report.loss, {})
        reference = server.params if switches.reference == "model" else mean.params
        h = _control_variates(state.client, reference, sent, probability / gamma, cohort.present)
        log = {"control_mean": trees.norm(_mean_over_clients(h, cohort.weight))}
        return State(server, h), Metrics(up, down, report.work, report.loss, log)

    def init(variables, key):
        del key
        return variables

    def init_control(variables, key):
        del key
        return trees.zeros_like(variables.params)

    def model(server, client_state):
        del client_state
        return server._replace(params=_prune(switches.deploy, server.params, jnp.zeros(())))

    return Algorithm(
        init,
        init_control if switches.control else no_client_state,
        None,
        round_fn,
        model,
        None if switches.deploy is None else lambda server: server,
        _declared(switches),
    )


def _client_work(federation: Federation, switches: Switches, probability: float) -> Callable:
    """A client's part of the round. What `over_clients` runs, see there."""
    base = make_gradient(federation.loss)

    def work(shared, h, client, key):
        server, live_at_start, t, steps = shared
        gamma = federation.client_rate(t)

        def gradient(variables, batch):
            at = variables._replace(params=_prune(switches.ste, variables.params, gamma))
            loss, stats, grads = base(at, batch)
            return loss, stats, trees.sub(grads, h) if switches.control else grads

        def project(params):
            return _prune(switches.local, params, gamma)

        span = None if steps is None else (0, jnp.where(client.count > 0, steps, 0))
        trained = federation.train(gradient, server, client, t, key, project, span)
        pruned = _prune(switches.upload, trained.variables.params, gamma)
        sent = trees.add_scaled(pruned, -gamma / probability, h) if switches.shift else pruned
        live_at_end = _live(switches, trained.variables.params, gamma)
        values = masks.count(masks.nonzero(pruned, switches.among), switches.among)
        report = Report(trained.loss, _work(federation, trained, live_at_start, live_at_end), values)
        message = trees.scale(Variables(sent, trained.variables.stats), client.weight)
        # What was sent takes the control variate's place until the mean is known, which the difference needs.
        return message, pruned if switches.control else h, report

    return work


def _live(switches: Switches, params: PyTree, gamma: jax.Array) -> jax.Array:
    """Live entries i32[L] in a forward pass."""
    if switches.ste is None and switches.local is None:
        return jnp.asarray(trees.sizes(params), jnp.int32)
    return trees.count_nonzero(_prune(switches.ste, params, gamma))


def soft_threshold(strength: float, among: PyTree) -> Operator:
    """The proximal operator of gamma `strength` |x|_1 on the leaves `among`: sign(x) max(|x| - gamma strength, 0)."""

    def apply(params, gamma):
        def one(leaf, chosen):
            shrunk = jnp.sign(leaf) * jnp.maximum(jnp.abs(leaf) - gamma * strength, 0)
            return shrunk.astype(leaf.dtype) if chosen else leaf

        return jax.tree.map(one, params, among)

    return Operator(apply)


def keep_largest(kept: int, among: PyTree) -> Operator:
    """Keeps the `kept` entries of largest magnitude over all leaves `among` together; ties go to the first."""

    def apply(params, gamma):
        del gamma
        return compression.top_k(params, kept, among)[0]

    return Operator(apply, kept)


def keep_largest_of_each(kept: Sequence[int], among: PyTree) -> Operator:
    """Keeps the `kept[i]` entries of largest magnitude of each leaf i in `among`; ties go to the first."""

    def apply(params, gamma):
        del gamma
        return compression.top_k_per_leaf(params, np.asarray(kept, np.int32), among)[0]

    return Operator(apply, sum(kept))


def steps_by_coin(hyper: Scaffnew) -> LocalSteps:
    """The local steps of a round: throws until a coin of chance p comes up, or always 1 / p, rounded."""
    if hyper.coin == "fixed":
        return lambda t, key: jnp.asarray(round(1 / hyper.probability), jnp.int32)
    return lambda t, key: jax.random.geometric(key, hyper.probability, dtype=jnp.int32)


def _top_k(federation: Federation, hyper: TopK | TopKScaffnew) -> tuple[Operator, PyTree]:
    """TopK as the hyper-parameters have it, and the leaves that it chooses from."""
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    sizes = masks.prunable_sizes(federation.params, among)
    groups = [size for size in sizes if size] if hyper.layerwise else [sum(sizes)]
    smallest = min(groups, default=0)
    if schedules.round_pruned(smallest, hyper.sparsity) == 0:
        raise errors.UsageError(
            f"--sparsity = {hyper.sparsity} keeps none of the {smallest} prunable weights"
            f"{' of a layer' if hyper.layerwise else ''}; allowed: at most {1 - 1 / max(smallest, 1):.6g}"
        )
    kept = [schedules.round_pruned(size, hyper.sparsity) for size in (sizes if hyper.layerwise else groups)]
    return keep_largest_of_each(kept, among) if hyper.layerwise else keep_largest(kept[0], among), among


def _kernels(federation: Federation) -> PyTree:
    return masks.prunable(federation.kinds, masks.SCOPES["kernels"])


def _member(
    federation: Federation,
    hyper: Scaffnew,
    switches: Switches,
    local_steps: LocalSteps | None,
) -> Algorithm:
    """A method with control variates; `local_steps` replays given rounds in place of the coin."""
    return proxskip(federation, switches, hyper.probability, local_steps or steps_by_coin(hyper))


def _prune(operator: Operator | None, params: PyTree, gamma: jax.Array) -> PyTree:
    return params if operator is None else operator.apply(params, gamma)


def _control_variates(
    h: PyTree, reference: PyTree, sent: PyTree, factor: jax.Array, present: jax.Array
) -> PyTree:
    """h_i + factor (reference - P_i) for the clients present; h, sent: [C, ...] like the parameters."""

    def one(h, reference, sent):
        here = present.reshape(-1, *(1,) * reference.ndim)
        return jnp.where(here, h + factor.astype(h.dtype) * (reference[None] - sent), h)

    return jax.tree.map(one, h, reference, sent)


def _mean_over_clients(h: PyTree, weight: jax.Array) -> PyTree:
    """Sum_i p_i h_i over a cohort; zero, with all clients, where the method is exact."""
    total = jax.tree.map(lambda leaf: jnp.tensordot(weight.astype(leaf.dtype), leaf, 1), h)
    return weighted_mean(total, weight)


def _work(federation: Federation, trained: Trained, at_start: jax.Array, at_end: jax.Array) -> Work:
    """One client's work: the first step with the live entries `at_start`, the others with those `at_end`."""
    live = at_end - (at_end - at_start) // jnp.maximum(trained.steps, 1)  # the mean over steps, rounded up
    dense = jnp.asarray(trees.sizes(federation.params), jnp.int32)
    return Work(trained.examples, trained.steps, live, live, dense)


def _messages(
    federation: Federation, switches: Switches, server: Variables, values: jax.Array, cohort: Cohort
) -> tuple[Message, Message]:
    """Up and down. `server` is the model that was sent; `values`, i32[C], how many prunable entries came back."""
    size = trees.size(federation.params) + federation.stats_size
    universe = sum(masks.prunable_sizes(federation.params, switches.among))

    def sparse(living: jax.Array, sent: jax.Array) -> Message:
        return subset_message(size, living, universe, sent, beside=size - universe)

    uploads_sparse = switches.upload is not None or switches.local is not None
    needs_mean = switches.server is not None and switches.control and switches.reference == "mean"
    up = sparse(values, cohort.present) if uploads_sparse else dense_message(size, cohort.present)
    if needs_mean or not (uploads_sparse or switches.server):
        return up, dense_message(size, cohort.invited)
    living = masks.count(masks.nonzero(server.params, switches.among), switches.among)
    return up, sparse(living, cohort.invited)


def _declared(switches: Switches) -> tuple[Declared, ...]:
    promised = {
        "upload": switches.upload or switches.local,
        "server": switches.server,
        "deployed": switches.deploy or switches.server,
    }

    def promise(what, operator):
        kept = operator.kept
        if kept is None:
            return Declared(what, "measured", None, switches.among)
        return Declared(what, "exact", lambda t: kept, switches.among)

    return tuple(promise(what, operator) for what, operator in promised.items() if operator is not None)


def _warn_of_partial_participation(federation: Federation) -> None:
    cohort, population = federation.cohort_size, federation.population
    if cohort < population:
        warnings.warn(
            f"control variates with partial participation (--cohort-size = {cohort} of {population} clients): those of "
            "a cohort do not sum to zero, so its mean is biased and convergence to the exact optimum is lost; "
            "--cohort-size all keeps it",
            stacklevel=4,
        )
