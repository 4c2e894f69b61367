"""Synthetic problems: what is known of them holds, and the minimisers are minimisers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fedjax_sparse.data import datasets, synthetic
from fedjax_sparse.errors import UsageError


@pytest.mark.parametrize("name", sorted(synthetic.SYNTHETIC))
def test_a_problem_is_the_same_every_time(name):
    np.random.seed(0)  # noqa: NPY002
    first = synthetic.load(name)
    np.random.seed(1)  # noqa: NPY002
    again = datasets.load(name)
    for field in ("x_train", "y_train", "x_test", "y_test"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
        assert not getattr(first, field).flags.writeable
    assert not np.array_equal(first.x_train[: len(first.x_test)], first.x_test)


def test_an_unknown_problem_is_refused():
    with pytest.raises(UsageError, match="did you mean 'synthetic/logistic'"):
        datasets.load("synthetic/logistics")


# Linear.


def test_least_squares_solves_the_mean_over_examples_and_over_clients():
    data = synthetic.linear()
    x, y, owner = data.x_train, data.y_train, data.client_train
    assert owner is not None
    w = synthetic.least_squares(x, y)
    np.testing.assert_allclose(w, np.linalg.lstsq(x, y)[0], rtol=1e-10)
    sizes = np.bincount(owner)
    assert sizes.tolist() == list(range(10, 101, 10))
    over_clients = synthetic.least_squares(x, y, weights=1 / sizes[owner])
    gradients = [
        x[owner == i].T @ (x[owner == i] @ over_clients - y[owner == i]) / sizes[i] for i in range(10)
    ]
    np.testing.assert_allclose(np.sum(gradients, axis=0), 0, atol=1e-12)
    # Clients disagree with it and the two means with each other, so that a run can tell them apart.
    assert min(np.linalg.norm(gradient) for gradient in gradients) > 0.1
    assert np.linalg.norm(w - over_clients) > 0.1


def test_least_squares_with_l2():
    data = synthetic.linear()
    x, y = data.x_train, data.y_train
    w = synthetic.least_squares(x, y, l2=0.3)
    np.testing.assert_allclose(x.T @ (x @ w - y) / len(y) + 0.3 * w, 0, atol=1e-12)


# Logistic.


def logistic_problem():
    data = synthetic.logistic()
    assert data.client_train is not None
    constant = synthetic.smoothness(data.x_train, data.client_train)
    return data, constant, synthetic.logistic_regression(data.x_train, data.y_train, l2=constant / 1000)


def test_newton_agrees_with_scikit_learn():
    data, constant, w = logistic_problem()
    inverse = 1000 / (constant * len(data.y_train))
    other = LogisticRegression(C=inverse, fit_intercept=False, tol=1e-10, max_iter=10_000)
    other.fit(data.x_train, data.y_train)
    np.testing.assert_allclose(w, other.coef_[0], atol=1e-6)


@pytest.mark.parametrize("far", [1.0, 100.0])
def test_newton_ends_where_the_gradient_vanishes(far):
    """Also on badly scaled, nearly separable data, where whole Newton steps overshoot."""
    data = synthetic.logistic()
    x, y, l2 = far * data.x_train, data.y_train, 1e-4
    w = synthetic.logistic_regression(x, y, l2=l2)
    sign = 2 * y - 1
    gradient = l2 * w - x.T @ (sign * np.exp(-np.logaddexp(0, sign * (x @ w)))) / len(y)
    assert np.linalg.norm(gradient) < 1e-10


def test_newton_with_weights_is_newton_on_repeated_rows():
    data = synthetic.logistic()
    x, y, times = data.x_train, data.y_train, 1 + np.arange(500) % 3
    weighted = synthetic.logistic_regression(x, y, l2=0.1, weights=times)
    repeated = synthetic.logistic_regression(np.repeat(x, times, axis=0), np.repeat(y, times), l2=0.1)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-10, atol=1e-12)


def test_smoothness_is_the_largest_curvature_at_zero():
    """The Hessian of a client's mean logistic loss at 0 is A^T A / (4 m)."""
    data, constant, _ = logistic_problem()
    clients = [data.x_train[data.client_train == i] for i in range(10)]
    curvatures = [np.linalg.eigvalsh(a.T @ a / (4 * len(a)))[-1] for a in clients]
    assert constant == pytest.approx(max(curvatures), rel=1e-12)


def test_scaffnew_reaches_the_minimiser():
    """Scaffnew (Mishchenko et al., arXiv:2202.09357) with step 1/L and p = 1/sqrt(kappa), kappa = 1001.

    The distances and the number of communications are those of another implementation, written by others.
    """
    data, constant, best = logistic_problem()
    a = data.x_train.reshape(10, 50, 30)
    sign = 2.0 * data.y_train.reshape(10, 50) - 1
    l2, step = constant / 1000, 1 / (constant * 1.001)
    p, coin = 1001**-0.5, np.random.default_rng(1)
    x = control = np.zeros((10, 30))
    communications, distance = 0, {}
    for t in range(1, 5001):
        wrong = sign / (1 + np.exp(sign * np.einsum("nmd,nd->nm", a, x)))
        moved = x - step * (l2 * x - np.einsum("nmd,nm->nd", a, wrong) / 50 - control)
        if coin.random() < p:
            communications += 1
            mean = moved.mean(axis=0)
            control = control + p / step * (mean - moved)
            moved = np.tile(mean, (10, 1))
        x = moved
        distance[t] = np.linalg.norm(x.mean(axis=0) - best)
    assert communications == 147
    assert [f"{distance[t]:.1e}" for t in (1000, 3000, 5000)] == ["6.8e-03", "9.0e-06", "5.0e-08"]


# Sparse and images.


def test_planted_weights_are_sparse_and_nearly_the_best_classifier():
    data, weights = synthetic.sparse(), synthetic.planted_weights()
    assert np.count_nonzero(weights) == 50
    assert weights.shape == (100, data.classes)
    accuracy = np.mean((data.x_test @ weights).argmax(axis=1) == data.y_test)
    dense = LogisticRegression(max_iter=1000).fit(data.x_train, data.y_train)
    assert accuracy > dense.score(data.x_test, data.y_test) > 0.8


def test_planted_weights_explain_the_labels_as_noise_should():
    """Under the model, the mean log-probability of the labels is minus the mean entropy of the predictions."""
    data = synthetic.sparse()
    scores = data.x_train @ synthetic.planted_weights()
    log_probability = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    entropy = -np.sum(np.exp(log_probability) * log_probability, axis=1)
    surprise = -log_probability[np.arange(len(scores)), data.y_train]
    spread = np.std(surprise - entropy) / np.sqrt(len(scores))
    assert abs(np.mean(surprise - entropy)) < 4 * spread


def test_images_are_balanced_normalised_and_not_linearly_separable():
    data = synthetic.images()
    assert data.x_train.dtype == np.uint8
    assert np.all(np.bincount(data.y_train) == 200)
    assert np.all(np.bincount(data.y_test) == 50)
    x = (data.x_train / 255 - data.mean) / data.std
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=(0, 1, 2)), 1, rtol=1e-12)
    flat = x.reshape(2000, -1)
    test = ((data.x_test / 255 - data.mean) / data.std).reshape(500, -1)
    one_hot = np.eye(10)[data.y_train] - 0.1
    ridge = np.linalg.solve(flat.T @ flat + 3000 * np.eye(768), flat.T @ one_hot)
    assert 0.6 < np.mean((test @ ridge).argmax(axis=1) == data.y_test) < 0.95
