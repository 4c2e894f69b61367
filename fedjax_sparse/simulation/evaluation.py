"""The test metrics of a model, over a whole test set in fixed-size batches."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.models.model import Model
from fedjax_sparse.types import Variables


class TestSet(NamedTuple):
    """A test set cut into K batches, the last one padded: x[K, B, ...], y[K, B, ...], mask bool[K, B].

    `share`, f[K, B], is what each example counts in the mean over clients' own test images; None where nobody asks.
    """

    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    share: np.ndarray | None = None


class Scores(NamedTuple):
    """Of one model on one test set, each f[].

    Attributes:
        loss: Mean over the predictions: over the examples or, for text, over all positions with a label, so that a long
            text counts more than a short one. Of a regression, the squared error summed over its targets.
        accuracy: Likewise, the share of predictions that are right; NaN for problems without classes.
        client_accuracy: Mean over the clients, each counted once, of that on their own test images; None without
            `TestSet.share`.
    """

    loss: jax.Array
    accuracy: jax.Array
    client_accuracy: jax.Array | None


def batched(x: np.ndarray, y: np.ndarray, batch_size: int, share: np.ndarray | None = None) -> TestSet:
    """Cuts M examples, and what each counts for clients, into ceil(M / B) batches of equal size."""
    count = len(x)
    batch_size = min(batch_size, count)
    extra = -count % batch_size

    def cut(array: np.ndarray) -> np.ndarray:
        padded = np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])
        return padded.reshape(-1, batch_size, *array.shape[1:])

    return TestSet(cut(x), cut(y), cut(np.ones(count, bool)), None if share is None else cut(share))


def make_evaluate(model: Model, preprocess: Callable) -> Callable[[Variables, TestSet], Scores]:
    """Builds (variables, test set) -> `Scores`; each prediction counts once, whatever batches and lengths of texts."""

    def evaluate(variables: Variables, test: TestSet) -> Scores:
        key = jax.random.key(0)  # evaluation draws nothing; the model's interface asks for a key

        def add_batch(sums, batch):
            x, y, mask, share = batch
            inputs = preprocess(x, key, False)
            outputs, _ = model.apply(variables, inputs, train=False, key=key, mask=mask)
            losses = model.loss(outputs, y)
            correct = jnp.full_like(losses, jnp.nan) if model.correct is None else model.correct(outputs, y)
            of_clients = None if share is None else share * correct
            units = model.units(y)
            return jax.tree.map(
                lambda total, v: total + jnp.sum(jnp.where(mask, v, 0), dtype=total.dtype),
                sums,
                (units, Scores(units * losses, units * correct, of_clients)),
            ), None

        zero = jnp.zeros((), jnp.result_type(float))
        zeros = jnp.zeros((), jnp.int32), Scores(zero, zero, None if test.share is None else zero)
        (units, (loss, correct, of_clients)), _ = jax.lax.scan(add_batch, zeros, test)
        predictions = jnp.maximum(units, 1)
        return Scores(loss / predictions, correct / predictions, of_clients)

    return evaluate
