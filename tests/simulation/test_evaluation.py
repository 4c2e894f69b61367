"""What means over a test set weigh, shown by very unequal units."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.models import model as models
from fedjax_sparse.simulation import evaluation
from fedjax_sparse.types import Variables


def scores(
    model: models.Model, outputs: Any, y: Any, batch_size: int, share: Any = None
) -> evaluation.Scores:
    """Scores of a model whose outputs are these, one row for each example."""
    table = jnp.asarray(outputs, jnp.float32)
    model = model._replace(apply=lambda variables, x, **_: (table[x[:, 0]], ()))
    evaluate = evaluation.make_evaluate(model, lambda x, key, train: x)
    rows = np.arange(len(y), dtype=np.int32)[:, None]
    return jax.jit(evaluate)(Variables({}, ()), evaluation.batched(rows, np.asarray(y), batch_size, share))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_a_text_counts_by_its_positions(batch_size):
    """One position that is right, six that are wrong, and a text without labels: 1 / 7, not a half or a third."""
    y = np.full((3, 6), -1, np.int32)
    y[0, 2], y[1] = 1, 0
    outputs = np.zeros((3, 6, 2))
    outputs[:, :, 1] = np.log(3)  # says 1, with probability 3/4
    found = scores(models.build("gru", (6,), 2), outputs, y, batch_size)
    np.testing.assert_allclose(found.accuracy, 1 / 7, rtol=1e-6)
    np.testing.assert_allclose(found.loss, -(np.log(3 / 4) + 6 * np.log(1 / 4)) / 7, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_an_example_counts_once_whatever_the_batches(batch_size):
    y = np.array([0, 1, 1, 1, 1], np.int32)
    model = models.build("mlp", (3,), 2, hidden=(2,))
    outputs = np.array([[1.0, 0]] * 5)
    found = scores(model, outputs, y, batch_size)
    np.testing.assert_allclose(found.accuracy, 1 / 5, rtol=1e-6)
    expected = np.mean(np.asarray(model.loss(jnp.asarray(outputs), jnp.asarray(y))))
    np.testing.assert_allclose(found.loss, expected, rtol=1e-6)


def test_a_client_counts_once_however_many_examples_it_tests_on():
    """One client tests on the first example alone, another on the four others: the mean of 1 and 0."""
    y = np.array([0, 1, 1, 1, 1], np.int32)
    share = np.array([1 / 2] + [1 / 8] * 4, np.float32)
    found = scores(models.build("mlp", (3,), 2, hidden=(2,)), np.array([[1.0, 0]] * 5), y, 2, share)
    assert found.client_accuracy is not None
    np.testing.assert_allclose(found.client_accuracy, 1 / 2, rtol=1e-6)
    np.testing.assert_allclose(found.accuracy, 1 / 5, rtol=1e-6)


def test_units_of_each_task():
    y = jnp.asarray([[1, -1, -1], [0, 2, 1], [-1, -1, -1]])
    np.testing.assert_array_equal(models.NEXT_CHARACTER.units(y), [1, 3, 0])
    for task in (models.CLASSIFICATION, models.BINARY, models.REGRESSION):
        np.testing.assert_array_equal(task.units(y[:, 0]), [1, 1, 1])
