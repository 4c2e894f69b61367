"""An algorithm as a newcomer would add it: FedAvg in which every client sends only its largest steps."""

from dataclasses import dataclass

import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.entry import Hyperparameters
from fedjax_sparse.config.options import SPARSITY, option
from fedjax_sparse.costs import counts
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.sparsity import masks
from fedjax_sparse.types import Algorithm, Declared, Metrics, State


@dataclass(frozen=True)
class TopKSteps(Hyperparameters):
    """Its hyper-parameters."""

    sparsity: float = option(0.8, "fraction of a step that is not sent", allowed=SPARSITY)


def top_k_steps(federation, hyper: TopKSteps):
    """Round: w_i = local SGD from w; w += sum_i p_i TopK(w_i - w). Not to be used: it forgets what it leaves out."""
    gradient, optimizer = make_gradient(federation.loss), federation.server_optimizer
    size, everything = trees.size(federation.params), masks.prunable(federation.kinds, masks.KINDS)
    keep = size - int(hyper.sparsity * size)
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def work(shared, client_state, client, key):
        (variables, _), t = shared
        trained = federation.train(gradient, variables, client, t, key)
        step = weighted_step(trained.variables, variables, client.weight)
        largest = masks.magnitude(step.params, keep, everything)
        report = counts.Report(trained.loss, counts.training_work(trained, live))
        return step._replace(params=masks.apply(largest, step.params)), client_state, report

    def round_fn(state, cohort, t, key):
        total, clients, log = federation.over_clients(work, (state.server, t), state.client, cohort, key)
        variables, opt = state.server
        server = server_step(optimizer, variables, opt, total, cohort.weight)
        up = counts.sparse_message(size, keep, cohort.present, located=keep, universe=size)
        down = counts.dense_message(size, cohort.invited)
        return State(server, clients), Metrics(up, down, log.work, log.loss, {})

    return Algorithm(
        init=lambda variables, key: (variables, optimizer.init(variables.params)),
        init_client=no_client_state,
        prepare=None,
        round=round_fn,
        model=lambda server, client_state: server[0],
        declared=(Declared("upload", "exact", lambda t: keep, everything),),
    )
