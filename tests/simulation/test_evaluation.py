"""Tests of one model: each prediction counts once, classes and clients as is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from fedjax_sparse.devices import meshes
from fedjax_sparse.simulation import evaluation, summaries
from tests import toy


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def scored(batch_size, own=None, classes=None):
    """Scores and answers of a model on the toy test set, its predictions there and its losses."""
    data, setting = toy.dataset(), toy.setting()
    variables = setting.model.init(jax.random.key(0))
    evaluate = jax.jit(evaluation.make_evaluate(setting.model, setting.preprocess, classes))
    test = evaluation.batched(data.x_test, data.y_test, batch_size)._replace(own=own)
    outputs, _ = setting.model.apply(variables, jnp.asarray(data.x_test), train=False)
    losses = setting.model.loss(outputs, jnp.asarray(data.y_test))
    return (*evaluate(variables, test), np.argmax(outputs, -1), losses, data.y_test)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 64])
def test_every_test_example_counts_once_whatever_the_batch(batch_size):
    scores, _, predicted, losses, y = scored(batch_size)
    np.testing.assert_allclose(scores.accuracy, np.mean(predicted == y))
    np.testing.assert_allclose(scores.loss, np.mean(losses), rtol=1e-12)
    assert scores.confusion is None


@pytest.mark.parametrize("batch_size", [3, 64])
def test_clients_are_tested_on_their_own_rows(batch_size):
    own = np.asarray([[0, 1, 2], [9, 5, -1], [-1, -1, -1]], np.int32)
    _, answers, predicted, _, y = scored(batch_size, own)
    right = np.asarray(predicted == y)
    found = evaluation.on_own(answers, jnp.asarray(own))
    np.testing.assert_allclose(found, [right[:3].mean(), right[[9, 5]].mean(), np.nan])


@pytest.mark.parametrize(("batch_size", "devices"), [(64, 2), (2, 4)])
def test_devices_share_the_batches(batch_size, devices):
    """One batch on two devices, and five on four: what fills them up is nobody's prediction."""
    data, setting = toy.dataset(), toy.setting()
    variables = setting.model.init(jax.random.key(0))
    alone = evaluation.make_evaluate(setting.model, setting.preprocess, 3)
    shared = evaluation.shared_by(alone, meshes.make_mesh(devices))
    test = evaluation.batched(data.x_test, data.y_test, batch_size)
    toy.leaves_close(jax.jit(shared)(variables, test), jax.jit(alone)(variables, test))
    assert evaluation.shared_by(alone, None) is alone


def test_measures_of_classes_are_those_of_scikit_learn():
    scores, _, predicted, _, y = scored(4, classes=3)
    np.testing.assert_array_equal(scores.confusion, metrics.confusion_matrix(y, predicted, labels=range(3)))
    found = summaries.by_class(np.asarray(scores.confusion))
    assert found["global_balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(y, predicted))
    assert found["global_macro_f1"] == pytest.approx(metrics.f1_score(y, predicted, average="macro"))
    recalls = [float(np.mean(predicted[y == i] == i)) for i in range(3)]
    assert [found[f"class_accuracy/{i}"] for i in range(3)] == pytest.approx(recalls)


def test_classes_that_nobody_tests_have_no_column_and_do_not_count():
    found = summaries.by_class(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]]))
    assert set(found) == {
        "global_balanced_accuracy",
        "global_macro_f1",
        "class_accuracy/0",
        "class_accuracy/2",
    }
    assert found["global_balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_one_logit_is_two_classes():
    logits, y = jnp.array([[2.0], [-1.0], [0.5], [3.0]]), jnp.array([1, 1, 0, 1])
    table = evaluation.confusions(logits, y, jnp.array([True, True, True, False]), 2)
    np.testing.assert_array_equal(table, [[0, 1], [1, 1]])


def test_the_spread_over_clients_leaves_out_those_without_tests():
    values = np.array([0.9, np.nan, 0.1, 0.3, *[1.0] * 9])
    known = values[~np.isnan(values)]
    found = summaries.spread("a", values)
    assert found["a"] == pytest.approx(known.mean())
    assert found["a_std"] == pytest.approx(known.std())
    assert found["a_worst_tenth"] == pytest.approx((0.1 + 0.3) / 2)  # two of twelve
    assert summaries.spread("a", np.array([np.nan])) == summaries.spread("a", None) == {}


@pytest.mark.parametrize("batch_size", [2, 64])
def test_the_objective_weighs_clients_not_examples_and_adds_the_penalty(batch_size):
    setting = toy.setting()
    population, variables = setting.population, setting.model.init(jax.random.key(0))
    weight = np.linspace(1, 2, len(population.count))
    of = evaluation.objective_of(population._replace(weight=weight), 0.3, batch_size)
    found = jax.jit(evaluation.make_objective(setting.model, setting.preprocess))(variables, of)
    outputs, _ = setting.model.apply(variables, jnp.asarray(population.pool.x), train=False)
    losses = np.asarray(setting.model.loss(outputs, jnp.asarray(population.pool.y)))
    means = [losses[rows[:n]].mean() for rows, n in zip(population.index, population.count, strict=True)]
    norms = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(variables.params))
    assert float(found) == pytest.approx(np.average(means, weights=weight) + 0.15 * norms, rel=1e-12)
