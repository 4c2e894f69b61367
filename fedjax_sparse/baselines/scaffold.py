"""SCAFFOLD: control variates of clients and server take the drift out of local training."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import Gradient, full_gradient, make_gradient
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.scaffold import Scaffold
from fedjax_sparse.costs.counts import Report, dense_message, training_work
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.types import Algorithm, Federation, Metrics, PyTree, State, Variables


class Server(NamedTuple):
    """The server's model, the state of its optimiser, and its control variate, shaped like the parameters."""

    variables: Variables
    opt: PyTree
    control: PyTree


def scaffold(federation: Federation, hyper: Scaffold) -> Algorithm:
    """Clients correct their gradients by what they know of the others'.

    Round t, for each client i of the cohort S, with the server's model x and control variate c, and the client's c_i
    (like the parameters, zeros at first); eta is the clients' learning rate, K_i the steps that client i takes:

        y_i  = x;  K_i times:  y_i = y_i - eta (g_i(y_i) - c_i + c)
        c_i+ = the gradient of i's loss over all its data at x          option I: one more pass over the data
        c_i+ = c_i - c + (x - y_i) / (K_i eta)                          option II
        x    = x + eta_g mean_S (y_i - x)                               eta_g: `--server-lr`
        c    = c + 1/N sum_S (c_i+ - c_i)

    so that c stays the mean of all N clients' c_i. The mean of models is uniform by default (`weighting`). With option
    II, all clients and eta_g = 1 this is Scaffnew with a fixed period K and p = 1/K, whose h_i are c_i - c.

    State: each client keeps c_i, the server c beside its model; absent clients keep theirs, and so does one that took
    no step. Two models' worth of scalars travel each way, x and c down, y_i - x and c_i+ - c_i up: twice FedAvg. Model
    statistics (BatchNorm) are averaged and have no control variates. FLOPs count option I's pass.

    Departures. Option I's gradient is that of the loss alone; momentum, weight decay and a learning rate that changes
    within the round are what option II takes for gradient. What two much used ports do otherwise:
        * FedDyn's code divides option II by the first learning rate though steps use a decayed one (`control_rate`
          "first"), and scales by omega_i = N n_i / sum n: steps add c / omega_i, c adds omega_i (c_i+ - c_i)
          (`control_weights` "examples"). Its clipping of the corrected gradient is `--clip-norm 10`, with
          `--weight-decay` outside; its cohorts are `--participation bernoulli`, redrawn if empty.
        * NIID-Bench starts c and every c_i from one random network (`first_control` "model": here the initial model)
          and weights models by examples (`--weighting examples`). Not restored: that it corrects after the step of
          the optimiser, momentum included, and BatchNorm's statistics like parameters.

    References:
        Karimireddy et al., SCAFFOLD: Stochastic Controlled Averaging for Federated Learning (arXiv 1910.06378), which
        published no code.
    """
    work = _client_work(federation, hyper)
    optimizer = federation.server_optimizer
    message_size = 2 * trees.size(federation.params) + federation.stats_size

    def first_control(params):
        return params if hyper.first_control == "model" else trees.zeros_like(params)

    def init(variables, key):
        del key
        return Server(variables, optimizer.init(variables.params), first_control(variables.params))

    def init_client(variables, key):
        del key
        return first_control(variables.params)

    def round_fn(state, cohort, t, key):
        server = state.server
        (total, change), controls, report = federation.over_clients(
            work, (server, t), state.client, cohort, key
        )
        variables, opt = server_step(optimizer, server.variables, server.opt, total, cohort.weight)
        control = trees.add_scaled(server.control, 1 / federation.population, change)
        up = dense_message(message_size, cohort.present)
        down = dense_message(message_size, cohort.invited)
        metrics = Metrics(up, down, report.work, report.loss, {})
        return State(Server(variables, opt, control), controls), metrics

    def model(server, client_state):
        del client_state
        return server.variables

    return Algorithm(init, init_client, None, round_fn, model)


def _client_work(federation: Federation, hyper: Scaffold) -> Callable:
    """A client's part of the round. What `over_clients` runs, see there."""
    gradient = make_gradient(federation.loss)
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def share(client):
        """Omega, f[]: the client's examples in units of the mean client's."""
        if hyper.control_weights == "uniform":
            return 1.0
        return client.count * (federation.population / federation.examples)

    def at_start(start, trained, control, server, client, t, key):
        """Option I."""
        del trained, control, server, t
        return full_gradient(gradient, start, client, federation.plan, key)

    def from_steps(start, trained, control, server, client, t, key):
        """Option II."""
        del client, key
        rate = federation.client_rate(t if hyper.control_rate == "current" else jnp.int32(1))
        mean_step = 1 / (jnp.maximum(trained.steps, 1) * rate)
        way = trees.sub(start.params, trained.variables.params)
        return trees.add_scaled(trees.sub(control, server.control), mean_step, way)

    renewed, more_examples = {"I": (at_start, 1), "II": (from_steps, 0)}[hyper.control_option]

    def work(shared, control, client, key):
        server, t = shared
        start, omega = server.variables, share(client)
        correction = trees.sub(trees.scale(server.control, 1 / jnp.maximum(omega, 1e-9)), control)
        trained = federation.train(corrected(gradient, correction), start, client, t, key)
        new = renewed(start, trained, control, server, client, t, key)
        new = trees.where(trained.steps > 0, new, control)
        change = trees.scale(trees.sub(new, control), omega)
        examples = trained.examples + more_examples * client.count
        report = Report(trained.loss, training_work(trained._replace(examples=examples), live))
        return (weighted_step(trained.variables, start, client.weight), change), new, report

    return work


def corrected(gradient: Gradient, correction: PyTree) -> Gradient:
    """The gradient plus the correction; the loss that it reports is without it."""

    def with_correction(variables, batch) -> tuple[jax.Array, PyTree, PyTree]:
        loss, stats, grads = gradient(variables, batch)
        return loss, stats, trees.add(grads, correction)

    return with_correction
