"""The model that comes of a run: taken out of the run's state, and asked for predictions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.models.model import Model
from fedjax_sparse.simulation import programs
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

    def of_seed(k: int) -> TrainedModel:
        own = RunState(
            jax.tree.map(lambda leaf: jnp.asarray(leaf[k]), state.server),
            jax.tree.map(lambda leaf: jnp.asarray(leaf[k, :1]), state.clients),
        )
        variables = programs.deployed(algorithm, store, own)
        return TrainedModel(setting.model, setting.preprocess, variables)

    return [of_seed(k) for k in range(len(jax.tree.leaves(state)[0]))]
