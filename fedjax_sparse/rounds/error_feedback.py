"""The engine of compressed updates: clients send a small part of what they owe, and most remember the rest.

FLARE, error correction, EF21, FedProx with error correction, FFL, random-k, EF-signSGD, QSGD and Deep Gradient
Compression differ in how a client trains, in what it sends and in what is remembered; each passes its difference in.
Everything else is here, once.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.config.cards.error_feedback import ErrorFeedback
from fedjax_sparse.costs.counts import Report, dense_message, subset_message, training_work
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.server.optimizer import step_along
from fedjax_sparse.sparsity import compression
from fedjax_sparse.types import Algorithm, Declared, Federation, Message, Metrics, PyTree, State, Variables

TO_COMPRESS = 2**31 - 1  # no local step's number: what compression draws is not what training drew

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


class Turn(NamedTuple):
    """What a client that is about to send can look at.

    Attributes:
        server: What the server sent.
        t: i32[], the round.
        key: For what this client draws.
        common: For what all clients of the round draw alike.
    """

    server: Server
    t: jax.Array
    key: jax.Array
    common: jax.Array


# (turn, update, memory) -> (what the server adds up, the client's new memory, the counts of its message)
Exchange = Callable[[Turn, PyTree, PyTree], tuple[PyTree, PyTree, PyTree]]
# (turn, tree) -> (what is kept of it, its mask)
Select = Callable[[Turn, PyTree], tuple[PyTree, PyTree]]


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


def step_by_mean(server: Server, heard: Heard) -> tuple[PyTree, PyTree]:
    """The server steps along the mean of what it received and notes nothing."""
    return server.notes, heard.mean


def zeros(variables: Variables) -> PyTree:
    """A first memory, or first notes, shaped like the parameters."""
    return trees.zeros_like(variables.params)


def nothing(variables: Variables) -> tuple[()]:
    """The memory of clients that remember nothing, and the notes of a server that notes nothing."""
    del variables
    return ()


def plain_training(federation: Federation) -> Callable:
    """Local SGD from the server's model, whatever the client remembers."""
    gradient = make_gradient(federation.loss)

    def train(server, memory, client, t, key):
        del memory
        return federation.train(gradient, server.variables, client, t, key)

    return train


def remembering(select: Select) -> Exchange:
    """Sends a selection of what is owed and remembers the rest; the message is counted by the entries sent, i32[]."""

    def exchange(turn, update, memory):
        sent, memory, mask = compression.error_feedback(lambda tree: select(turn, tree), update, memory)
        return sent, memory, jnp.sum(trees.count_nonzero(mask))

    return exchange


def error_feedback(
    federation: Federation,
    train: Callable,
    exchange: Exchange,
    *,
    declared: tuple[Declared, ...] = (),
    first_memory: Callable[[Variables], PyTree] = zeros,
    upload: Callable[[PyTree, jax.Array], Message] | None = None,
    first_notes: Callable[[Variables], PyTree] = nothing,
    conclude: Callable[[Server, Heard], tuple[PyTree, PyTree]] = step_by_mean,
    observe: Callable[[PyTree, Variables], PyTree] = lambda notes, variables: notes,
) -> Algorithm:
    """Builds a member of the family.

    Round t, for each client i of the cohort with memory A_i (zeros at first, kept while the client is absent):

        w_i = train(server, A_i, ...)                   local training from W
        S_i, A_i = exchange(w_i - W, A_i)               often S_i = C(w_i - W + A_i), A_i = w_i - W + A_i - S_i
        W   = W + sum_i p_i S_i                         p_i: the weights of the cohort

    The downlink is dense. Model statistics (BatchNorm) are sent whole and averaged.

    Args:
        federation: What the algorithm is built from.
        train: (server, memory, client, t, key) -> `Trained`.
        exchange: See `Exchange`; such as `remembering(select)`.
        declared: The promise about the upload.
        first_memory: Variables -> a client's memory before round 1.
        upload: (counts with a leading axis C, present bool[C]) -> the message; None: each count is the number of
            entries that travel, each with its position.
        first_notes: Variables -> the server's notes before round 1.
        conclude: (server, heard) -> (new notes, the step of the model); ignored when nobody came.
        observe: (notes, the model after that step) -> new notes; likewise.
    """
    optimizer = federation.server_optimizer
    size = trees.size(federation.params) + federation.stats_size
    work = _client_work(federation, train, exchange)
    upload = upload or located_entries(federation)

    def init(variables, key):
        del key
        return Server(variables, optimizer.init(variables.params), first_notes(variables))

    def init_client(variables, key):
        del key
        return first_memory(variables)

    def round_fn(state, cohort, t, key):
        server = state.server
        common = jax.random.fold_in(key, federation.population)  # nobody's id
        total, memories, (report, counts, norms) = federation.over_clients(
            work, (server, t, common), state.client, cohort, key
        )
        mean = weighted_mean(total, cohort.weight)
        examples = report.work.examples
        loss = jnp.sum(report.loss * examples) / jnp.maximum(jnp.sum(examples), 1)
        share = jnp.sum(cohort.present) / federation.population
        notes, step = conclude(server, Heard(mean.params, loss, share))
        someone = jnp.any(cohort.present)
        variables, opt = step_along(
            optimizer, server.variables, server.opt, mean._replace(params=step), someone
        )
        notes = trees.where(someone, observe(notes, variables), server.notes)
        up, down = upload(counts, cohort.present), dense_message(size, cohort.invited)
        log = {"memory_norm": norms} if jax.tree.leaves(memories) else {}
        return State(Server(variables, opt, notes), memories), Metrics(
            up, down, report.work, report.loss, log
        )

    def model(server, client_state):
        del client_state
        return server.variables

    return Algorithm(init, init_client, None, round_fn, model, None, declared)


def _client_work(federation: Federation, train: Callable, exchange: Exchange) -> Callable:
    """A client's part of the round. What `over_clients` runs, see there."""
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def work(shared, memory, client, key):
        server, t, common = shared
        trained = train(server, memory, client, t, key)
        update = trees.sub(trained.variables.params, server.variables.params)
        turn = Turn(server, t, jax.random.fold_in(key, TO_COMPRESS), common)
        sent, memory, counts = exchange(turn, update, memory)
        total = trees.scale(Variables(sent, trained.variables.stats), client.weight)
        return total, memory, (Report(trained.loss, training_work(trained, live)), counts, trees.norm(memory))

    return work


def located_entries(federation: Federation) -> Callable[[jax.Array, jax.Array], Message]:
    """So many entries of the update (i32[C]), each with its position, and the model statistics."""
    size, stats_size = trees.size(federation.params), federation.stats_size
    return lambda values, sent: subset_message(size + stats_size, values, size, sent, beside=stats_size)


def top_k(federation: Federation, hyper: ErrorFeedback) -> tuple[Select, tuple[Declared, ...]]:
    """The family's `select` with counts that are fixed for the run, made on the host, and what it promises."""
    everything = jax.tree.map(lambda leaf: True, federation.params)
    counts, keep = RULES[hyper.count_rule]
    ks = counts(trees.sizes(federation.params), hyper.keep_percent)
    how = "exact" if hyper.count_rule == "exact" else "bounded"
    total = int(np.sum(ks, dtype=np.int64))
    promise = Declared("upload", how, lambda t: total, everything)
    return lambda turn, tree: keep(tree, ks, everything), (promise,)


def decaying(initial: float, factor: float, rounds: int) -> Callable[[jax.Array], jax.Array]:
    """Round number t = 1..T -> initial / factor**t; computed on the host in float64."""
    table = initial * factor ** -np.arange(rounds + 1, dtype=np.float64)
    return lambda t: jnp.asarray(table, jnp.result_type(float))[t]
