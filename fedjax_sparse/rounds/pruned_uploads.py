"""Clients train, prune what they send, and the server averages the survivors: the round of SparsyFed and its rivals."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from fedjax_sparse import errors, trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.sparsyfed import PrunedUploads
from fedjax_sparse.costs.counts import Report, subset_message
from fedjax_sparse.server import aggregation
from fedjax_sparse.server.optimizer import mask_moments, server_step
from fedjax_sparse.sparsity import activations, consensus, masks, powerprop
from fedjax_sparse.sparsity.schedules import round_pruned
from fedjax_sparse.types import (
    Algorithm,
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
    """What the server keeps.

    Attributes:
        variables: The model; its parameters are raw (before the power), and zero where no client kept them.
        opt: The server optimiser's state, zero there too.
    """

    variables: Variables
    opt: PyTree


def in_some_upload(params: PyTree, votes: PyTree, present: jax.Array, t: jax.Array) -> PyTree:
    """The mask of what some client kept; everything where nobody came."""
    del params, t
    return aggregation.vote(votes, jnp.any(present).astype(jnp.int32))


class LocalRules(NamedTuple):
    """What distinguishes the members of the family, nearly all of it at the clients.

    Attributes:
        start: Initial weights -> the raw parameters that training starts from.
        exponents: Raw params -> the power of each leaf, f[] or float; constant within a client's round.
        project: Received params -> projection after each local step.
        weight_gradient: Living entries i32[L] -> entries of each leaf whose gradient is computed, or the share of the
            leaf's work that this takes.
        pruned: Names of the kernels whose layers' inputs are pruned in the backward pass.
        cached: Those of them that keep the threshold of their first batch.
        floor: Fraction of the inputs kept at least.
        counting: How that and the other fractions become counts.
        tiers: (first id beyond the tier, sparsity) of groups of clients; empty where all have the same.
        merged: (mean parameters, how many clients kept each entry, bool[C] who came, t) -> what the server keeps.
    """

    start: Callable[[PyTree], PyTree]
    exponents: Callable[[PyTree], PyTree]
    project: Callable[[PyTree], Callable[[PyTree], PyTree]]
    weight_gradient: Callable[[jax.Array], jax.Array]
    pruned: frozenset[str] = frozenset()
    cached: frozenset[str] = frozenset()
    floor: float = 1.0
    counting: str = "exact"
    tiers: tuple[tuple[int, float], ...] = ()
    merged: Callable[[PyTree, PyTree, jax.Array, jax.Array], PyTree] = in_some_upload


class Log(NamedTuple):
    """What one client reports.

    Attributes:
        report: Its training.
        sent: Prunable entries in its message, i32[].
        metrics: Scalars by name.
        mask: Their positions as bits, or `()`.
    """

    report: Report
    sent: jax.Array
    metrics: dict[str, jax.Array]
    mask: Any


def pruned_uploads(federation: Federation, hyper: PrunedUploads, local: LocalRules) -> Algorithm:
    """The shared round: clients train, prune and send; the server averages."""
    optimizer = federation.server_optimizer
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    kept, most, kept_of = _counts(federation, hyper.sparsity, local.tiers, among)
    if hyper.log_masks:
        consensus.check_overlaps(federation.cohort_size)
    work = _client_work(federation, local, among, kept_of, hyper.log_masks)

    def init(variables, key):
        del key
        params = local.start(variables.params)
        return Server(variables._replace(params=params), optimizer.init(params))

    def merge(server, total, votes, cohort, t):
        variables, opt = server_step(optimizer, server.variables, server.opt, total, cohort.weight)
        mask = local.merged(variables.params, votes, cohort.present, t)
        params = masks.apply(mask, variables.params)
        return Server(variables._replace(params=params), mask_moments(optimizer, opt, mask))

    def round_fn(state, cohort, t, key):
        before = state.server
        (total, votes), client_states, log = federation.over_clients(
            work, (before, t), state.client, cohort, key
        )
        after = merge(before, total, votes, cohort, t)
        metrics = log.metrics | consensus.server_metrics(before.variables, after.variables, among)
        if hyper.log_masks:
            metrics["mask_iou_pairs"] = consensus.overlaps(log.mask)
        living = masks.count(masks.nonzero(before.variables.params, among), among)
        up = _message(federation, among, log.sent, cohort.present)
        down = _message(federation, among, living, cohort.invited)
        return State(after, client_states), Metrics(up, down, log.report.work, log.report.loss, metrics)

    def of_model(server):
        params = server.variables.params
        return server.variables._replace(params=powerprop.effective(params, local.exponents(params)))

    def model(server, client_state):
        del client_state
        params = _prune(server.variables.params, kept, among)
        return of_model(server._replace(variables=server.variables._replace(params=params)))

    how = "bounded" if local.tiers else "exact"
    declared = (
        Declared("upload", how, lambda t: most, among),
        Declared("deployed", how, lambda t: kept, among),
    )
    return Algorithm(init, no_client_state, None, round_fn, model, of_model, declared)


def _client_work(
    federation: Federation,
    local: LocalRules,
    among: PyTree,
    kept_of: Callable[[jax.Array], ArrayLike],
    log_masks: bool,
) -> Callable:
    """A client's part of the round: it trains, prunes and sends. What `over_clients` runs, see there."""
    limit = functools.partial(activations.threshold, floor=local.floor, counting=local.counting)
    loss = activations.with_pruned_activations(federation.loss, local.pruned, limit)

    def work(shared, client_state, client, key):
        server, t = shared
        received, k = server.variables, kept_of(client.id)
        params = received.params
        if local.tiers:
            params = _prune(params, jnp.where(t > 1, k, trees.size(params)), among)
        exponents = local.exponents(params)

        def of_weights(variables, batch):
            weights = powerprop.effective(variables.params, exponents)
            return loss(variables._replace(params=weights), batch)

        start = activations.remember(Variables(params, received.stats), local.cached)
        trained = federation.train(make_gradient(of_weights), start, client, t, key, local.project(params))
        after = activations.forget(trained.variables)
        sent = after._replace(params=_prune(after.params, k, among))
        support = masks.nonzero(sent.params, among)
        live = trees.count_nonzero(after.params)
        report = Report(
            trained.loss, Work(trained.examples, trained.steps, live, live, local.weight_gradient(live))
        )
        log = Log(
            report,
            masks.count(support, among),
            consensus.client_metrics(received, after, sent, among),
            consensus.bits(support, among) if log_masks else (),
        )
        votes = jax.tree.map(lambda mask: mask.astype(jnp.int32), support)
        return (weighted_step(sent, received, client.weight), votes), client_state, log

    return work


def _counts(
    federation: Federation, sparsity: float, tiers: tuple[tuple[int, float], ...], among: PyTree
) -> tuple[int, int, Callable[[jax.Array], ArrayLike]]:
    """Entries kept in the deployed model, at most in an upload, and by a client: id -> i32[].

    Raises:
        UsageError: A sparsity keeps nothing, or the tiers leave clients out.
    """
    total = sum(masks.prunable_sizes(federation.params, among))

    def count(sparsity):
        kept = round_pruned(total, sparsity)
        if kept < 1:
            raise errors.UsageError(
                f"sparsity {sparsity} keeps none of the model's {total} prunable entries; allowed: at least 1 kept"
            )
        return kept

    if not tiers:
        return count(sparsity), count(sparsity), lambda client_id: count(sparsity)
    bounds, kept = np.array([bound for bound, _ in tiers]), np.array([count(s) for _, s in tiers], np.int32)
    if bounds[-1] < federation.population:
        raise errors.UsageError(
            f"--tiers end at client {bounds[-1]}; allowed: a last bound of at least --clients = {federation.population}"
        )

    def kept_of(client_id):
        tier = jnp.searchsorted(jnp.asarray(bounds), client_id, side="right")
        return jnp.asarray(kept)[tier]  # an empty place, with the id N, may get the last tier's

    return count(sparsity), int(kept.max()), kept_of


def _prune(params: PyTree, k: ArrayLike, among: PyTree) -> PyTree:
    """Zero but for the `k` chosen entries of largest magnitude."""
    return masks.apply(masks.magnitude(params, k, among), params)


def _message(federation: Federation, among: PyTree, living: jax.Array, to: jax.Array) -> Message:
    """Living entries with their positions among all prunable ones, and everything else as it is."""
    universe = sum(masks.prunable_sizes(federation.params, among))
    size = trees.size(federation.params) + federation.stats_size
    return subset_message(size, living, universe, to, beside=size - universe)
