"""LotteryFL: clients prune their parts of the server's model, and train them anew from the common first weights."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import Gradient, make_gradient
from fedjax_sparse.clients.own_accuracy import make_own_accuracy
from fedjax_sparse.config.cards.lotteryfl import LotteryFL
from fedjax_sparse.config.options import LARGEST
from fedjax_sparse.costs.counts import Report, training_work
from fedjax_sparse.rounds.part_averaging import mean_of_parts, part_messages, part_sum
from fedjax_sparse.sparsity import masks
from fedjax_sparse.sparsity.percentile import at_least_percentile
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, PyTree, State, Variables

FROZEN = 1e-6  # weights that are smaller get no gradient


class Server(NamedTuple):
    """The model, and the initial one, to which tickets are rewound."""

    variables: Variables
    start: Variables


class Ticket(NamedTuple):
    """What one client keeps: its mask, and how often it has pruned it (i32[])."""

    mask: PyTree
    prunings: jax.Array


class _Log(NamedTuple):
    """What one client reports: its training, the entries that its new mask keeps, and whether it pruned."""

    report: Report
    kept: jax.Array
    pruned: jax.Array


def lotteryfl(federation: Federation, hyper: LotteryFL) -> Algorithm:
    """Masks m_i of the clients that only shrink; what a client prunes, it trains anew from the initial weights w_0.

    Round t, for each client i of the cohort, with the received model w:

        y = m_i * w
        if accuracy of y on the client's training data > `least_accuracy`
           and (1 - `prune_percent` / 100)^(prunings of i so far) > `target_density`:
            m_i loses what is strictly below the `prune_percent`-th percentile of the living |y| of each kernel
            y = m_i * w_0                                  (whole: biases and statistics too)
        y = local SGD from y, the gradient of a kernel's entry 0 where it is smaller than 1e-6
        w = sum_i y / sum_i m_i, entry by entry, with the new masks; unchanged where nobody holds

    Kernels are pruned. Clients count alike, and statistics are averaged. The paper's clients train with momentum 0.5,
    which `--client-momentum` sets; it still moves an entry that has just become that small.

    State: of the server w and w_0; of each client m_i, at first all ones, and how often it pruned. Deployed is m_i * w;
    `server_model` is w.

    Costs: living values under a mask that the server knows; what was pruned is left out of the upload, then with
    positions. The test on training data is not counted as work.

    Departures: the official code asks the client's test data for its accuracy, at most 80 of them, and reports of each
    client the best accuracy that it ever had; a rewound bias shares storage with that of w_0, which training then
    changes. None of this is done. With `prune_percent` 0 it is not FedAvg: clients that are good enough rewind.

    References:
        Li et al., LotteryFL: Personalized and Communication-Efficient Federated Learning with Lottery Ticket Hypothesis
        on Non-IID Datasets (arXiv 2008.03371).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    work = _client_work(federation, hyper, among)

    def init(variables, key):
        del key
        return Server(variables, variables)

    def init_client(variables, key):
        del key
        return Ticket(masks.ones(variables.params), jnp.int32(0))

    def round_fn(state, cohort, t, key):
        held = jax.vmap(lambda mask: masks.count(mask, among))(state.client.mask)
        total, tickets, log = federation.over_clients(work, (state.server, t), state.client, cohort, key)
        server = state.server._replace(variables=mean_of_parts(state.server.variables, total, cohort.present))
        up, down = part_messages(federation, among, held, log.kept, cohort)
        report, pruned = log.report, log.pruned.astype(jnp.float32)
        return State(server, tickets), Metrics(up, down, report.work, report.loss, {"pruned_clients": pruned})

    def model(server, ticket):
        return masks.model_under(server.variables, ticket.mask)

    declared = (Declared("personal", "measured", None, among),)
    return Algorithm(
        init, init_client, None, round_fn, model, lambda server: server.variables, declared, personal=True
    )


def _client_work(federation: Federation, hyper: LotteryFL, among: PyTree) -> Callable:
    """A client's part of the round. What `over_clients` runs, see there."""
    gradient = frozen_at_zero(make_gradient(federation.loss), among)
    own_accuracy = make_own_accuracy(federation, "lotteryfl")
    most = prunings_above(hyper.target_density, 1 - hyper.prune_percent / 100)

    def work(shared, ticket, client, key):
        server, t = shared
        received = masks.model_under(server.variables, ticket.mask)
        accurate = own_accuracy(received, client, key) > hyper.least_accuracy
        prunes = accurate & (ticket.prunings < most)
        pruned = at_least_percentile(received.params, ticket.mask, hyper.prune_percent, among)
        mask = trees.where(prunes, pruned, ticket.mask)
        start = trees.where(prunes, masks.model_under(server.start, mask), received)
        trained = federation.train(gradient, start, client, t, key)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(mask)))
        ticket = Ticket(mask, ticket.prunings + prunes)
        return part_sum(trained.variables, mask), ticket, _Log(report, masks.count(mask, among), prunes)

    return work


def frozen_at_zero(gradient: Gradient, among: PyTree) -> Gradient:
    """The gradient, zero at entries of the chosen leaves that are (almost) zero, before it is clipped."""

    def living(variables, batch):
        loss, stats, grads = gradient(variables, batch)
        grads = jax.tree.map(
            lambda yes, weights, grad: jnp.where(jnp.abs(weights) < FROZEN, 0, grad) if yes else grad,
            among,
            variables.params,
            grads,
        )
        return loss, stats, grads

    return living


def prunings_above(target: float, kept: float) -> int:
    """How many prunings, each of which keeps the share `kept`, begin at a nominal density above `target`."""
    if kept == 1 or target == 0:
        return LARGEST if target < 1 else 0
    prunings, density = 0, 1.0
    while density > target:
        prunings, density = prunings + 1, density * kept
    return prunings
