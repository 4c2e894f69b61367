"""Federated averaging's round: everyone sends a whole model, and the server steps along the mean step."""

from collections.abc import Callable

from fedjax_sparse import trees
from fedjax_sparse.clients.steps import Steps
from fedjax_sparse.costs.counts import dense_message
from fedjax_sparse.server.optimizer import Server, server_step
from fedjax_sparse.types import Federation, Metrics, State


def averaging_round(federation: Federation, steps: Steps, work: Callable) -> Callable:
    """The round of an algorithm whose server keeps a `Server`.

    Args:
        federation: Whose clients and whose server optimiser.
        steps: By which `work` trains.
        work: What `over_clients` runs, see there: ((server, t), client state, client, key) -> (what
            `steps.take` gives, client state, `costs.counts.Report`).
    """
    size = trees.size(federation.params) + federation.stats_size

    def round_fn(state, cohort, t, key):
        total, client_states, report = federation.over_clients(
            work, (state.server, t), state.client, cohort, key
        )
        variables, opt = state.server
        step = steps.total(total, variables)
        server = Server(*server_step(federation.server_optimizer, variables, opt, step, cohort.weight))
        up, down = dense_message(size, cohort.present), dense_message(size, cohort.invited)
        return State(server, client_states), Metrics(up, down, report.work, report.loss, {})

    return round_fn
