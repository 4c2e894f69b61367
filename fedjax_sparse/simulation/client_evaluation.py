"""The models that clients deploy, each tested by itself: in chunks and over devices as clients train."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.state_store import StateStore
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.population import Population
from fedjax_sparse.simulation.evaluation import Array, Evaluate, Scores, TestSet, rows_of
from fedjax_sparse.sparsity import masks
from fedjax_sparse.types import Algorithm, Client, Federation, PyTree, State, Variables


class ClientScores(NamedTuple):
    """Of the models of n clients.

    Attributes:
        accuracy: f[n], of each client's model on its own test rows, NaN without such; None where nobody has any.
        tuned: The same after a round of local training; None where nobody asks.
        nonzero: i32[n, L], entries of each leaf that are not zero.
        dealt: Sums over a test set whose examples are dealt to the clients in turn, each put to one model: of models
            that have no server's beside them. An estimate, without bias, of the mean over clients of their accuracies
            on the whole test set, at the cost of one pass over it.
    """

    accuracy: Array | None
    tuned: Array | None
    nonzero: Array
    dealt: Scores | None


def make_evaluate_clients(
    algorithm: Algorithm, federation: Federation, store: StateStore, evaluate: Evaluate, tuned: bool
) -> Callable[..., ClientScores]:
    """Builds (state with the stored states of n clients, population, test set, their ids i32[n], t, key) -> scores.

    Empty places, with ids from N on, come out as zeros.

    Args:
        algorithm: Whose models are tested.
        federation: That runs work for each client.
        store: How the clients' states are stored.
        evaluate: See `evaluation.make_evaluate`.
        tuned: Whether models are also tested after a round of local training: as much plain local SGD as a client does
            in a round, from what it deploys, on its own examples, at the learning rate of round t; where a weight is
            zero and the algorithm declares sparsity, it stays zero.
    """
    tune = make_tune(algorithm, federation)
    alone = algorithm.personal and algorithm.server_model is None

    def work(shared, row, client, key):
        server, test, t = shared
        one = store.gather(jax.tree.map(lambda leaf: leaf[None], row), jnp.zeros((1,), jnp.int32))
        model = algorithm.model(server, jax.tree.map(lambda leaf: leaf[0], one))

        def on_own_rows(variables: Variables):
            return evaluate(variables, rows_of(test, test.own[client.id]))[0].accuracy

        accuracy = None if test.own is None else on_own_rows(model)
        after = on_own_rows(tune(model, client, t, key)) if tuned and test.own is not None else None
        turns = client.id + federation.population * jnp.arange(-(-test.mask.size // federation.population))
        dealt = evaluate(model, rows_of(test, turns))[0] if alone else None
        return dealt, row, ClientScores(accuracy, after, trees.count_nonzero(model.params), None)

    def evaluate_clients(
        state: State, population: Population, test: TestSet, ids: jax.Array, t: jax.Array, key: jax.Array
    ) -> ClientScores:
        there = ids < federation.population
        cohort = populations.gather(population, ids, there)
        cohort = cohort._replace(weight=there.astype(jnp.float32))  # also those without training examples
        shared = state.server, test, jnp.maximum(t, 1)
        dealt, _, scores = federation.over_clients(work, shared, state.client, cohort, key)
        return scores._replace(dealt=dealt)

    return evaluate_clients


def make_tune(algorithm: Algorithm, federation: Federation) -> Callable[..., Variables]:
    """Builds (variables, client, t, key) -> the model after a round of plain local training within its support."""
    gradient = make_gradient(federation.loss)

    def tune(variables: Variables, client: Client, t: jax.Array, key: jax.Array) -> Variables:
        def project(params: PyTree) -> PyTree:
            for promise in algorithm.declared[:1]:
                return masks.apply(masks.nonzero(variables.params, promise.prunable), params)
            return params

        return federation.train(gradient, variables, client, t, key, project).variables

    return tune


def merged(parts: Sequence[ClientScores], everyone: int) -> ClientScores:
    """The scores of all N clients, with a leading axis over seeds, from those of some after others; on the host."""
    return ClientScores(
        _joined([part.accuracy for part in parts], everyone),
        _joined([part.tuned for part in parts], everyone),
        np.concatenate([part.nonzero for part in parts], axis=1)[:, :everyone],
        jax.tree.map(lambda *each: sum(each), *[part.dealt for part in parts]),
    )


def _joined(columns: Sequence[Any], everyone: int) -> np.ndarray | None:
    """Columns [K, n] side by side, without empty places; None where there are none."""
    return None if columns[0] is None else np.concatenate(columns, axis=1)[:, :everyone]
