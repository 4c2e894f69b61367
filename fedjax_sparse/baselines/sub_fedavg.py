"""Sub-FedAvg (unstructured): clients train and prune parts of the server's model, which averages who holds an entry."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import in_sequence, make_gradient
from fedjax_sparse.clients.own_accuracy import make_own_accuracy
from fedjax_sparse.config.cards.sub_fedavg import SubFedAvg
from fedjax_sparse.costs.counts import Report, sparse_message, training_work
from fedjax_sparse.rounds.masked_averaging import masked_gradient
from fedjax_sparse.rounds.part_averaging import mean_of_parts, part_messages, part_sum, size_beside
from fedjax_sparse.sparsity import masks
from fedjax_sparse.sparsity.percentile import at_least_percentile
from fedjax_sparse.types import Algorithm, Cohort, Declared, Federation, Message, Metrics, PyTree, State


class _Log(NamedTuple):
    """What one client reports: its training, the entries that its new mask keeps, and whether it pruned."""

    report: Report
    kept: jax.Array
    pruned: jax.Array


def sub_fedavg(federation: Federation, hyper: SubFedAvg) -> Algorithm:
    """Masks m_i of the clients that only shrink, found as they train; each entry's mean is over those who hold it.

    Round t, for each client i of the cohort, with the received model w and prune(y), m_i without what is strictly
    below the `prune_percent`-th percentile of the living |y| of each kernel:

        y     = local SGD from m_i * w, the gradient masked by m_i before it is clipped
        m', m'' = prune(y) after the first epoch, and after the last
        if mean over tensors of the share in which m' and m'' differ > `least_distance`
           and density of m_i > `target_density`
           and accuracy of m'' * y on the client's training data > `least_accuracy`:
            next m_i = m'';  y = m'' * y
        w     = sum_i y / sum_i m_i, entry by entry, with the masks of the round's start; unchanged where nobody holds

    Kernels are pruned; distance and density are over all tensors. Clients count alike, and statistics are averaged.

    State: of the server the model, of each client m_i, at first all ones. Deployed is m_i * w; `server_model` is w.

    Costs: living values under a mask that the server knows; what was pruned is left out of the upload, then with
    positions. The test on training data is not counted as work.

    Departures: the paper's own code (LeNet-5) asks the client's test data for its accuracy and takes 10 percent to a
    density of 0.3; the defaults are those of DisPFL's and SalientGrads' code. That the mean divides by the masks of
    the start although what was just pruned arrives as zero is theirs; `upload_pruned = no` sends it for the last time,
    with one bit for each living entry that says what stays. With `--local-steps` the first epoch is a client's first
    pass, or all steps where that is longer.

    References:
        Vahidian et al., Personalized Federated Learning by Structured and Unstructured Pruning under Data
        Heterogeneity (arXiv 2105.00562).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    work = _client_work(federation, hyper, among)

    def init(variables, key):
        del key
        return variables

    def init_client(variables, key):
        del key
        return masks.ones(variables.params)

    def round_fn(state, cohort, t, key):
        held = jax.vmap(lambda mask: masks.count(mask, among))(state.client)
        total, client_states, log = federation.over_clients(
            work, (state.server, t), state.client, cohort, key
        )
        up, down = part_messages(federation, among, held, log.kept, cohort)
        if not hyper.upload_pruned:
            up = _whole_upload(federation, among, held, log.pruned, cohort)
        report, pruned = log.report, log.pruned.astype(jnp.float32)
        server = mean_of_parts(state.server, total, cohort.present)
        metrics = Metrics(up, down, report.work, report.loss, {"pruned_clients": pruned})
        return State(server, client_states), metrics

    declared = (Declared("personal", "measured", None, among),)
    return Algorithm(
        init, init_client, None, round_fn, masks.model_under, lambda server: server, declared, personal=True
    )


def _client_work(federation: Federation, hyper: SubFedAvg, among: PyTree) -> Callable:
    """A client's part of the round. What `over_clients` runs, see there."""
    gradient, plan = make_gradient(federation.loss), federation.plan
    own_accuracy = make_own_accuracy(federation, "sub-fedavg")
    size = trees.size(federation.params)

    def train(start, mask, client, t, key):
        """The model after the first epoch, and what training leaves behind."""
        living, total = masked_gradient(gradient, mask), plan.total_steps(client.count)
        first = jnp.minimum(plan.steps_per_pass(client.count), total)
        early = federation.train(living, start, client, t, key, steps=(0, first))
        rest = federation.train(
            living, early.variables, client, t, key, steps=(first, total), moments=early.moments
        )
        return early.variables, in_sequence(early, rest)

    def searched(early, late, mask, client, key):
        """The mask after the last epoch, and whether it takes effect."""
        first, last = (
            at_least_percentile(model.params, mask, hyper.prune_percent, among) for model in (early, late)
        )
        apart = jnp.mean(jnp.stack(jax.tree.leaves(jax.tree.map(_share_that_differs, first, last))))
        density = jnp.sum(trees.count_nonzero(mask)) / size
        accuracy = own_accuracy(masks.model_under(late, last), client, key)
        gates = (
            apart > hyper.least_distance,
            density > hyper.target_density,
            accuracy > hyper.least_accuracy,
        )
        return last, jnp.all(jnp.stack(gates))

    def work(shared, mask, client, key):
        server, t = shared
        early, trained = train(masks.model_under(server, mask), mask, client, t, key)
        pruned_mask, prunes = searched(early, trained.variables, mask, client, key)
        new = trees.where(prunes, pruned_mask, mask)
        sent = masks.model_under(trained.variables, new if hyper.upload_pruned else mask)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(mask)))
        log = _Log(report, masks.count(new, among), prunes)
        return part_sum(sent, mask), new, log

    return work


def _whole_upload(
    federation: Federation, among: PyTree, held: jax.Array, pruned: jax.Array, cohort: Cohort
) -> Message:
    """All that was trained, and one bit for each living entry where a mask that was pruned says what stays."""
    whole = trees.size(federation.params) + federation.stats_size
    values, bits = held + size_beside(federation, among), jnp.where(pruned, held, 0)
    return sparse_message(whole, values, cohort.present, located=0, universe=0, mask_bits=bits)


def _share_that_differs(a: PyTree, b: PyTree) -> jax.Array:
    return trees.count(a != b) / a.size
