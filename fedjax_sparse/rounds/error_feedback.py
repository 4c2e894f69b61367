"""The engine of the error-feedback family: clients send a sparse part of what they owe and remember the rest.

FLARE, error correction, EF21, FedProx with error correction and FFL differ in how a client trains, in how much it
sends and in what is remembered; each passes its difference in. Everything else is here, once.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.config.cards.error_feedback import ErrorFeedback
from fedjax_sparse.costs.counts import Report, dense_message, subset_message, training_work
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.server.optimizer import step_along
from fedjax_sparse.sparsity import compression
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, PyTree, State, Variables

# (update, memory) -> (what the server adds up, the client's new memory, the mask of what travels)
Exchange = Callable[[compression.Selection, PyTree, PyTree], tuple[PyTree, PyTree, PyTree]]

# How many entries of each tensor travel, and which: by `count_rule`.
RULES = {
    "exact": (compression.exact_counts, compression.top_k_per_leaf),
    "plus-one": (compression.flare_counts, compression.above_next_per_leaf),
}


class Server(NamedTuple):
    """What the server keeps.

    Attributes:
        variables: The model, dense.
        opt: The server optimiser's state.
        notes: What else a member of the family keeps from round to round; `()` where it is nothing.
    """

    variables: Variables
    opt: PyTree
    notes: PyTree


class Heard(NamedTuple):
    """What the server has learned at the end of a round.

    Attributes:
        mean: The weighted mean of what clients sent; shaped like the parameters.
        loss: f[], the mean training loss over the round's examples; 0 when nobody trained.
        share: f[], the share of the population that answered.
    """

    mean: PyTree
    loss: jax.Array
    share: jax.Array


def step_by_mean(notes: PyTree, heard: Heard) -> tuple[PyTree, PyTree]:
    """The server steps along the mean of what it received and notes nothing."""
    return notes, heard.mean


def error_feedback(
    federation: Federation,
    train: Callable,
    select: Callable[[Server, PyTree], tuple[PyTree, PyTree]],
    declared: Declared,
    *,
    exchange: Exchange = compression.error_feedback,
    first_notes: Callable[[Variables], PyTree] = lambda variables: (),
    conclude: Callable[[PyTree, Heard], tuple[PyTree, PyTree]] = step_by_mean,
    observe: Callable[[PyTree, Variables], PyTree] = lambda notes, variables: notes,
) -> Algorithm:
    """Builds a member of the family.

    Round t, for each client i of the cohort with memory A_i (zeros at first, kept while the client is absent):

        w_i = train(server, A_i, ...)                   local training from W
        S_i, A_i = exchange(select, w_i - W, A_i)       by default S_i = TopK(w_i - W + A_i), A_i = w_i - W + A_i - S_i
        W   = W + sum_i p_i S_i                         p_i: the weights of the cohort, uniform in all these papers

    The uplink carries the chosen values with their positions; the downlink is dense. Model statistics (BatchNorm) are
    sent whole and averaged.

    Args:
        federation: What the algorithm is built from.
        train: (server, memory, client, t, key) -> `Trained`.
        select: (server, tree) -> (what is kept of it, its mask).
        declared: The promise about the upload.
        exchange: See `Exchange`.
        first_notes: Variables -> the server's notes before round 1.
        conclude: (notes, heard) -> (new notes, the step of the model); ignored when nobody came.
        observe: (notes, the model after that step) -> new notes; likewise.
    """
    optimizer = federation.server_optimizer
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)
    size, stats_size = trees.size(federation.params), federation.stats_size

    def init(variables, key):
        del key
        return Server(variables, optimizer.init(variables.params), first_notes(variables))

    def init_client(variables, key):
        del key
        return trees.zeros_like(variables.params)

    def work(shared, memory, client, key):
        server, t = shared
        trained = train(server, memory, client, t, key)
        update = trees.sub(trained.variables.params, server.variables.params)
        sent, memory, mask = exchange(lambda tree: select(server, tree), update, memory)
        total = trees.scale(Variables(sent, trained.variables.stats), client.weight)
        values = jnp.sum(trees.count_nonzero(mask))
        return total, memory, (Report(trained.loss, training_work(trained, live)), values, trees.norm(memory))

    def round_fn(state, cohort, t, key):
        server = state.server
        total, memories, (report, values, norms) = federation.over_clients(
            work, (server, t), state.client, cohort, key
        )
        mean = weighted_mean(total, cohort.weight)
        examples = report.work.examples
        loss = jnp.sum(report.loss * examples) / jnp.maximum(jnp.sum(examples), 1)
        share = jnp.sum(cohort.present) / federation.population
        notes, step = conclude(server.notes, Heard(mean.params, loss, share))
        someone = jnp.any(cohort.present)
        variables, opt = step_along(
            optimizer, server.variables, server.opt, mean._replace(params=step), someone
        )
        notes = trees.where(someone, observe(notes, variables), server.notes)
        up = subset_message(size + stats_size, values, size, cohort.present, beside=stats_size)
        down = dense_message(size + stats_size, cohort.invited)
        metrics = Metrics(up, down, report.work, report.loss, {"memory_norm": norms})
        return State(Server(variables, opt, notes), memories), metrics

    def model(server, client_state):
        del client_state
        return server.variables

    return Algorithm(init, init_client, None, round_fn, model, None, (declared,))


def top_k(
    federation: Federation, hyper: ErrorFeedback
) -> tuple[Callable[[Server, PyTree], tuple[PyTree, PyTree]], Declared]:
    """The family's `select` with counts that are fixed for the run, made on the host, and what it promises."""
    everything = jax.tree.map(lambda leaf: True, federation.params)
    counts, keep = RULES[hyper.count_rule]
    ks = counts(trees.sizes(federation.params), hyper.keep_percent)
    how = "exact" if hyper.count_rule == "exact" else "bounded"
    total = int(np.sum(ks, dtype=np.int64))
    return lambda server, tree: keep(tree, ks, everything), Declared(
        "upload", how, lambda t: total, everything
    )


def decaying(initial: float, factor: float, rounds: int) -> Callable[[jax.Array], jax.Array]:
    """Round number t = 1..T -> initial / factor**t; computed on the host in float64."""
    table = initial * factor ** -np.arange(rounds + 1, dtype=np.float64)
    return lambda t: jnp.asarray(table, jnp.result_type(float))[t]
