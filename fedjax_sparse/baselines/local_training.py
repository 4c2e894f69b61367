"""Local training without communication: what each client reaches by itself."""

import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.config.cards.local_training import LocalTraining
from fedjax_sparse.costs.counts import Report, nothing_sent, training_work
from fedjax_sparse.types import Algorithm, Federation, Metrics, State


def local_training(federation: Federation, hyper: LocalTraining) -> Algorithm:
    """Every client goes on from its own model; all start from the same one.

    Round t, for each client i of the cohort: w_i = local SGD from w_i. By default everyone takes part, so that each
    client trains for as many steps as in the run that this is compared with, at the same learning rates.

    State: each client keeps its model, w_i, with its own model statistics; that is what it deploys. As the server's own
    model counts the mean of all N clients' models, which nobody has: at the end of a run it is what one exchange of
    them would give. Nothing is sent, in either direction. Not to be confused with Local SGD, which is FedAvg.

    References:
        McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data (arXiv 1602.05629),
        of what is left without its averaging.
    """
    del hyper  # it has none
    gradient = make_gradient(federation.loss)
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def init(variables, key):
        del key
        return variables

    def init_client(variables, key):
        del key
        return variables

    def work(t, own, client, key):
        trained = federation.train(gradient, own, client, t, key)
        change = trees.sub(trained.variables, own)
        return change, trained.variables, Report(trained.loss, training_work(trained, live))

    def round_fn(state, cohort, t, key):
        total, models, report = federation.over_clients(work, t, state.client, cohort, key)
        mean = trees.add_scaled(state.server, 1 / federation.population, total)
        nothing = nothing_sent(cohort.present)
        return State(mean, models), Metrics(nothing, nothing, report.work, report.loss, {})

    def model(mean, own):
        del mean
        return own

    return Algorithm(init, init_client, None, round_fn, model, lambda mean: mean, personal=True)
