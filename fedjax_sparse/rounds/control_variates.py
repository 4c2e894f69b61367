"""The round of Scaffnew (ProxSkip for federated learning), with a place for every operator that prunes."""

import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.costs.counts import dense_message, subset_message
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.sparsity import masks
from fedjax_sparse.sparsity.operators import Operator
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
