"""FedDyn: a dynamic regulariser makes the clients' minimisers agree with the server's."""

from typing import NamedTuple

import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.proximal import pulled_to
from fedjax_sparse.config.cards.feddyn import FedDyn
from fedjax_sparse.costs.counts import Report, dense_message, training_work
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.types import Algorithm, Federation, Metrics, PyTree, State, Variables


class Server(NamedTuple):
    """What the server keeps.

    Attributes:
        variables: theta, where the clients start ("cloud").
        shift: The mean of all N clients' l_k, shaped like the parameters.
        deployed: The model that is deployed.
    """

    variables: Variables
    shift: PyTree
    deployed: Variables


class Memory(NamedTuple):
    """What a client keeps: l_k and, where the mean over all clients is deployed, its last model; else ()."""

    shift: PyTree
    last: PyTree


def feddyn(federation: Federation, hyper: FedDyn) -> Algorithm:
    """Each client minimises its loss, bent by where its earlier rounds have led.

    Round t, for each client k of the cohort S, with l_k (like the parameters, zeros at first):

        y_k   = local SGD from theta on  f_k(z) + alpha_k <z, l_k - theta> + alpha_k/2 ||z||^2
                that is, with the gradient  g_k(z) + alpha_k (z - theta + l_k)
        l_k   = l_k + y_k - theta
        theta = mean_S y_k + 1/N sum_k l_k             over all N clients

    alpha_k = alpha sum_j n_j / (N n_k): alpha over the client's examples in units of the mean client's (`strength_by`).
    In the paper's words a client's gradient state is -alpha l_k, and h = -(alpha/N) sum l_k. At a fixed point
    y_k = theta, and alpha_k l_k is minus the gradient of f_k there. With l_k = 0 this is FedProx. The mean over S is
    uniform by default (`weighting`).

    State: each client keeps l_k, and its last model where `deployed` is "all"; absent clients keep theirs. The server
    keeps theta and the mean of all l_k, which it adds up from what it receives. One model travels each way. Model
    statistics (BatchNorm) are averaged. `deployed` "average" is mean_S y_k, "all" the mean of the last known models of
    all clients, the initial one for those that never came; theta then counts as the server's own model.

    Departures. The official code (alpemreacar/FedDyn) reports all three models and plots "all"; it passes the
    quadratic term as weight decay, so that its clipping at norm 10 leaves it out, where `--clip-norm` here clips the
    whole gradient.

    References:
        Acar et al., Federated Learning Based on Dynamic Regularization (arXiv 2111.04263).
    """
    gradient = make_gradient(federation.loss)
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)
    message_size = trees.size(federation.params) + federation.stats_size
    over_all = hyper.deployed == "all"

    def alpha_of(client):
        """alpha_k, f[]."""
        if hyper.strength_by == "uniform":
            return hyper.strength
        return hyper.strength * federation.examples / (federation.population * jnp.maximum(client.count, 1))

    def init(variables, key):
        del key
        return Server(variables, trees.zeros_like(variables.params), variables)

    def init_client(variables, key):
        del key
        return Memory(trees.zeros_like(variables.params), variables.params if over_all else ())

    def work(shared, memory, client, key):
        theta, t = shared
        center = trees.sub(theta.params, memory.shift)
        train_gradient = pulled_to(gradient, center, alpha_of(client))
        trained = federation.train(train_gradient, theta, client, t, key)
        way = trees.sub(trained.variables.params, theta.params)
        new = Memory(trees.add(memory.shift, way), trained.variables.params if over_all else ())
        weighted = trees.scale(Variables(way, trained.variables.stats), client.weight)
        moved = trees.sub(new.last, memory.last)
        return (weighted, way, moved), new, Report(trained.loss, training_work(trained, live))

    def round_fn(state, cohort, t, key):
        server = state.server
        (total, ways, moved), memories, report = federation.over_clients(
            work, (server.variables, t), state.client, cohort, key
        )
        mean = weighted_mean(total, cohort.weight)
        average = mean._replace(params=trees.add(server.variables.params, mean.params))
        shift = trees.add_scaled(server.shift, 1 / federation.population, ways)
        cloud = average._replace(params=trees.add(average.params, shift))
        deployed = cloud if hyper.deployed == "cloud" else average
        if over_all:
            params = trees.add_scaled(server.deployed.params, 1 / federation.population, moved)
            deployed = average._replace(params=params)
        new = trees.where(jnp.any(cohort.present), Server(cloud, shift, deployed), server)
        up = dense_message(message_size, cohort.present)
        down = dense_message(message_size, cohort.invited)
        return State(new, memories), Metrics(up, down, report.work, report.loss, {})

    def model(server, client_state):
        del client_state
        return server.deployed

    server_model = None if hyper.deployed == "cloud" else lambda server: server.variables
    return Algorithm(init, init_client, None, round_fn, model, server_model)
