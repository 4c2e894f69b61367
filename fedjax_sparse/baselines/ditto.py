"""Ditto: federated averaging for the server, and beside it a personal model of each client, pulled towards it."""

import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import identity, in_sequence, make_gradient
from fedjax_sparse.clients.proximal import pulled_to
from fedjax_sparse.config.cards.ditto import Ditto
from fedjax_sparse.costs.counts import Report, training_work
from fedjax_sparse.rounds.averaging import averaging_round
from fedjax_sparse.server.optimizer import Server
from fedjax_sparse.types import Algorithm, Federation


def ditto(federation: Federation, hyper: Ditto) -> Algorithm:
    """Every client of a cohort trains twice: the server's model, which it sends, and a model v_i that it keeps.

    Round t, for each client i of the cohort with weight p_i, learning rate eta and the received model w:

        w_i = local SGD from w
        v_i = `personal_epochs` passes of SGD from v_i, with v_i = v_i - eta lambda (v_i - w) after each step
        w   = sum_i p_i w_i                                (or the server optimiser's step)

    `pull` "in-gradient" is the textbook's form instead: the gradient of loss(v) + lambda/2 ||v - w||^2, at v before the
    step and within the clip. lambda = 0 is local training, eta lambda = 1 takes the server's model.

    State: the server's model and optimiser; of each client v_i with its own model statistics, at first the initial
    weights, which a client that never takes part keeps. Deployed is v_i; `server_model` is w, which is FedAvg's.

    Costs: w dense both ways, v_i never; the work of both trainings.

    Departures: the local steps of a round are numbered through both trainings, so that the passes of the second follow
    those of the first in the order of the client's examples. The pull after a step has the rate of the round, whatever
    `--epoch-lr-schedule` makes of it within.

    References:
        Li et al., Ditto: Fair and Robust Federated Learning Through Personalization (arXiv 2012.04221); the defaults
        are those of DisPFL's official code.
    """
    gradient = make_gradient(federation.loss)
    optimizer, plan = federation.server_optimizer, federation.plan
    steps = federation.make_steps(federation.loss)
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def init(variables, key):
        del key
        return Server(variables, optimizer.init(variables.params))

    def init_client(variables, key):
        del key
        return variables

    def train_personal(own, received, client, t, key):
        def towards(params):
            return trees.add_scaled(
                params, -federation.client_rate(t) * hyper.lam, trees.sub(params, received)
            )

        by_gradient = hyper.pull == "in-gradient"
        pulled = pulled_to(gradient, received, hyper.lam) if by_gradient else gradient
        first = plan.total_steps(client.count)
        further = first, first + hyper.personal_epochs * plan.steps_per_pass(client.count)
        return federation.train(pulled, own, client, t, key, identity if by_gradient else towards, further)

    def work(shared, own, client, key):
        server, t = shared
        step, trained = steps.take(federation.train, server.variables, client, t, key)
        personal = train_personal(own, server.variables.params, client, t, key)
        both = in_sequence(trained, personal)
        return step, personal.variables, Report(both.loss, training_work(both, live))

    def model(server, own):
        del server
        return own

    return Algorithm(
        init,
        init_client,
        None,
        averaging_round(federation, steps, work),
        model,
        lambda server: server.variables,
        personal=True,
    )
