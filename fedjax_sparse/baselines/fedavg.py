"""Federated averaging, with any server optimiser (FedAvgM, FedAdagrad, FedAdam, FedYogi) and with a proximal term."""

import jax.numpy as jnp
import optax

from fedjax_sparse import trees
from fedjax_sparse.clients.proximal import proximal_training
from fedjax_sparse.clients.state_store import no_client_state
from fedjax_sparse.config.cards.fedavg import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi
from fedjax_sparse.costs.counts import Report, training_work
from fedjax_sparse.rounds.averaging import averaging_round
from fedjax_sparse.server import fedopt
from fedjax_sparse.server.optimizer import Server
from fedjax_sparse.types import Algorithm, Federation


def fedavg(federation: Federation, hyper: FedAvg) -> Algorithm:
    """Clients train the server's model; the server steps along the mean of their steps.

    Round t, for each client i of the cohort, with weight p_i proportional to its examples (or uniform):

        w_i     = local SGD from w_t
        w_{t+1} = server optimiser's step from w_t with gradient -sum_i p_i (w_i - w_t)

    `server_optimizer = optax.sgd(1.0)` is FedAvg: w_{t+1} = sum_i p_i w_i. FedAvgM, FedAdagrad, FedAdam and FedYogi
    are in `fedjax_sparse.server.fedopt`. Everything travels dense, both ways.

    References:
        McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data (arXiv 1602.05629);
        Reddi et al., Adaptive Federated Optimization (arXiv 2003.00295).
    """
    del hyper  # FedAvg has no hyper-parameters of its own
    optimizer = federation.server_optimizer
    steps = federation.make_steps(federation.loss)
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def init(variables, key):
        del key
        return Server(variables, optimizer.init(variables.params))

    def work(shared, client_state, client, key):
        server, t = shared
        step, trained = steps.take(federation.train, server.variables, client, t, key)
        return step, client_state, Report(trained.loss, training_work(trained, live))

    def model(server, client_state):
        del client_state
        return server.variables

    return Algorithm(init, no_client_state, None, averaging_round(federation, steps, work), model)


def fedprox(federation: Federation, hyper: FedProx) -> Algorithm:
    """FedAvg whose clients minimise loss(w) + mu/2 ||w - W||^2, W being the server's model; see `fedavg`.

    Departures: the paper lets each client solve this to its own accuracy; here all do the same local SGD. The FedProx
    of FedSparsify's official code pulls towards zero in place of W, which is `fedavg` with weight decay mu.

    References:
        Li et al., Federated Optimization in Heterogeneous Networks (arXiv 1812.06127).
    """
    train = proximal_training(federation.train, lambda t: hyper.mu)
    return fedavg(federation._replace(train=train), FedAvg())


def fedavgm(federation: Federation, hyper: FedAvgM) -> Algorithm:
    """FedAvg whose server has momentum: M = beta M + sum_i p_i (w_i - w_t), w_{t+1} = w_t + eta M; see `fedavg`.

    References:
        Hsu et al., Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification
        (arXiv 1909.06335).
    """
    return _with_server(federation, fedopt.make("momentum", hyper.eta, hyper.beta))


def fedadagrad(federation: Federation, hyper: FedAdagrad) -> Algorithm:
    """FedAvg whose server runs Adagrad; see `fedavg` and, for the formulas, `fedjax_sparse.server.fedopt`.

    Departures of the codes: `variant`, each with the code's own constants where they are not stated.

    References:
        Reddi et al., Adaptive Federated Optimization (arXiv 2003.00295).
    """
    name = _variant("adagrad", hyper.variant)
    return _with_server(federation, fedopt.make(name, hyper.eta, hyper.b1, tau=hyper.tau))


def fedadam(federation: Federation, hyper: FedAdam) -> Algorithm:
    """FedAvg whose server runs Adam, without bias correction in the paper; see `fedadagrad`, also for the codes.

    References:
        Reddi et al., Adaptive Federated Optimization (arXiv 2003.00295).
    """
    name = _variant("adam", hyper.variant)
    return _with_server(federation, fedopt.make(name, hyper.eta, hyper.b1, hyper.b2, hyper.tau))


def fedyogi(federation: Federation, hyper: FedYogi) -> Algorithm:
    """FedAvg whose server runs Yogi, whose v grows and falls by as much; see `fedadagrad`, also for the codes.

    References:
        Reddi et al., Adaptive Federated Optimization (arXiv 2003.00295).
    """
    name = _variant("yogi", hyper.variant)
    return _with_server(federation, fedopt.make(name, hyper.eta, hyper.b1, hyper.b2, hyper.tau))


def _variant(rule: str, variant: str) -> str:
    """The name of the rule, as the paper or a code has it, in `fedopt`."""
    return rule if variant == "paper" else f"{rule}-{variant}"


def _with_server(federation: Federation, optimizer: optax.GradientTransformation) -> Algorithm:
    return fedavg(federation._replace(server_optimizer=optimizer), FedAvg())
