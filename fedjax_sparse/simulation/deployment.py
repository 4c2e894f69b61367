"""The model that comes of a run: taken out of the run's state, and asked for predictions."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.models.model import Model
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.ledger import prunable
from fedjax_sparse.simulation.programs import RunState
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm, Variables

BATCH = 500  # examples that a model is asked about at once


class TrainedModel(NamedTuple):
    """A model with its parameters.

    Attributes:
        model: As pure functions.
        preprocess: (x, key, train) -> model inputs.
        variables: Its parameters and statistics.
    """

    model: Model
    preprocess: Callable
    variables: Variables

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """What the model's last layer says, f[M, ...]: logits or, in regression, the predictions.

        Args:
            x: [M, ...], one example or more, in the form of the data set, as `load_dataset` gives it: images of bytes
                are normalised here.
        """
        key = jax.random.key(0)  # nothing is drawn; the interfaces ask for a key

        def of(batch: np.ndarray) -> np.ndarray:
            inputs = self.preprocess(jnp.asarray(batch), key, False)
            return np.asarray(self.model.apply(self.variables, inputs, train=False, key=key)[0])

        return np.concatenate([of(x[start : start + BATCH]) for start in range(0, len(x), BATCH)])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Labels i64[M] (for text of each position, i64[M, T]) or, in regression, numbers f[M, targets]."""
        outputs = self.outputs(x)
        if self.model.correct is None:
            return outputs
        if outputs.shape[-1] == 1:  # one logit for two classes
            return (outputs[..., 0] > 0).astype(np.int64)
        return outputs.argmax(axis=-1)


def trained(algorithm: Algorithm, setting: Setting, state: RunState) -> list[TrainedModel]:
    """The models that a state of K seeds deploys; where clients' differ, that of the first client."""
    store = programs.make_store(algorithm, setting)
    return [
        TrainedModel(setting.model, setting.preprocess, programs.deployed(algorithm, store, own))
        for own in _seeds(state)
    ]


def server_masks(algorithm: Algorithm, setting: Setting, state: RunState) -> list[dict[str, np.ndarray]]:
    """Where the server's model of each seed is not zero: bool arrays of the leaves that may be pruned, by name.

    The server's model is its own where it has one, else what it deploys; of clients with models of their own it is that
    of the first one.
    """
    store, among = programs.make_store(algorithm, setting), prunable(algorithm, setting)

    def of(own: RunState) -> dict[str, np.ndarray]:
        model = algorithm.server_model
        variables = programs.deployed(algorithm, store, own) if model is None else model(own.server)
        leaves = zip(
            trees.names(variables.params),
            jax.tree.leaves(variables.params),
            jax.tree.leaves(among),
            strict=True,
        )
        return {name: np.asarray(leaf != 0) for name, leaf, chosen in leaves if chosen}

    return [of(own) for own in _seeds(state)]


def _seeds(state: RunState) -> Iterator[RunState]:
    """The states of single seeds, with the server's and the first client's."""
    for k in range(len(jax.tree.leaves(state)[0])):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], state.server)
        first = jax.tree.map(lambda leaf, k=k: leaf[k, :1], state.clients)
        yield RunState(*jax.tree.map(jnp.asarray, (own, first)))
