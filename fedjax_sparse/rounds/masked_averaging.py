"""Federated averaging under one mask that is found before round 1 and never changes.

SalientGrads, SNIP and GraSP differ in how they find the mask; each passes that in. The rounds are here, once.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import Gradient, make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.costs.counts import Report, sparse_message, subset_message, training_work
from fedjax_sparse.server.optimizer import mask_moments, server_step
from fedjax_sparse.sparsity import masks
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, PyTree, State, Variables


class Server(NamedTuple):
    """What the server keeps.

    Attributes:
        variables: The model; its parameters are zero outside the mask (before round 1 only with `start_masked`).
        opt: The server optimiser's state, zero outside the mask.
        mask: Which parameters live.
    """

    variables: Variables
    opt: PyTree
    mask: PyTree


def masked_gradient(gradient: Gradient, mask: PyTree) -> Gradient:
    """The gradient, zero outside the mask: only what lives counts in the norm by which it is clipped."""

    def living(variables, batch):
        loss, stats, grads = gradient(variables, batch)
        return loss, stats, masks.apply(mask, grads)

    return living


def under(federation: Federation, server: Any, mask: PyTree) -> Any:
    """The server with a mask, outside of which its model and its optimiser's moments are zero.

    Args:
        federation: Whose optimiser.
        server: What a server keeps, with the fields `variables`, `opt` and `mask` among others.
        mask: The mask that it has from now on.
    """
    variables = masks.model_under(server.variables, mask)
    opt = mask_moments(federation.server_optimizer, server.opt, mask)
    return server._replace(variables=variables, opt=opt, mask=mask)


def averaging_under_a_mask(
    federation: Federation,
    find_mask: Callable,
    kept: int,
    among: PyTree,
    *,
    exact: bool = True,
    start_masked: bool = True,
    clip_living: bool = False,
    upload: str = "weights",
) -> Algorithm:
    """Builds the algorithm.

    Before round 1 the mask m is found; round t, for each client i of the cohort with weight p_i:

        w_i = local SGD from w, with w_i = m * w_i after each step
        w   = m * sum_i p_i w_i                            (or the server optimiser's step)

    Everyone knows the mask, so that messages under it carry values without positions.

    Args:
        federation: What the algorithm is built from.
        find_mask: (variables, cohort of everyone, key) -> (mask, metrics of finding it).
        kept: Entries that the mask keeps among the prunable ones.
        among: Python bool for each leaf: where pruning is allowed.
        exact: Whether the mask keeps exactly `kept`; else it is only measured.
        start_masked: Whether w is masked before round 1, or only by the first local step.
        clip_living: Whether gradients are masked before they are clipped, so that their norm is that of living entries.
        upload: "weights", every living one; or "updates", those living weights that changed, with their positions.
    """
    work = _client_work(federation, clip_living)
    optimizer = federation.server_optimizer
    size, stats_size = trees.size(federation.params), federation.stats_size

    def init(variables, key):
        del key
        params = variables.params
        return Server(variables, optimizer.init(params), masks.ones(params))

    def prepare(state, cohort, key):
        mask, metrics = find_mask(state.server.variables, cohort, key)
        server = under(federation, state.server, mask) if start_masked else state.server._replace(mask=mask)
        return State(server, state.client), metrics

    def round_fn(state, cohort, t, key):
        server = state.server
        total, client_states, (report, changed) = federation.over_clients(
            work, (server, t), state.client, cohort, key
        )
        variables, opt = server_step(optimizer, server.variables, server.opt, total, cohort.weight)
        living = jnp.sum(trees.count_nonzero(server.mask))
        down = living if start_masked else jnp.where(t == 1, size, living)
        whole = size + stats_size
        down = sparse_message(whole, down + stats_size, cohort.invited, located=0, universe=0)
        chosen = changed if upload == "updates" else living
        up = subset_message(whole, chosen, living, cohort.present, beside=stats_size)
        server = under(federation, server._replace(variables=variables, opt=opt), server.mask)
        return State(server, client_states), Metrics(up, down, report.work, report.loss, {})

    def model(server, client_state):
        del client_state
        return server.variables

    promise = Declared("server", *(("exact", lambda t: kept) if exact else ("measured", None)), among)
    declared = (promise, promise._replace(what="deployed"))  # they are one model
    return Algorithm(init, no_client_state, prepare, round_fn, model, None, declared)


def _client_work(federation: Federation, clip_living: bool) -> Callable:
    """A client's part of the round. What `over_clients` runs, see there."""
    gradient = make_gradient(federation.loss)

    def work(shared, client_state, client, key):
        server, t = shared
        own_gradient = masked_gradient(gradient, server.mask) if clip_living else gradient
        project = functools.partial(masks.apply, server.mask)
        trained = federation.train(own_gradient, server.variables, client, t, key, project)
        change = trees.sub(trained.variables.params, server.variables.params)
        changed = jnp.sum(trees.count_nonzero(masks.apply(server.mask, change)))
        live = trees.count_nonzero(server.mask)
        step = weighted_step(trained.variables, server.variables, client.weight)
        return step, client_state, (Report(trained.loss, training_work(trained, live)), changed)

    return work
