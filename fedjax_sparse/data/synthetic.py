"""Problems with known answers, computed from fixed seeds; and the exact minimisers to hold runs against.

Features and targets are float64, so that a run in float64 can reach the minimiser to the last digits.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedjax_sparse.data.arrays import Dataset, Task
from fedjax_sparse.errors import unknown_name


def linear() -> Dataset:
    """Least squares on ten clients of 10, 20, ..., 100 examples that differ in inputs and in the true weights.

    Client i has targets a . w_i + noise, with rows a ~ N(shift_i, scale_i^2) of 20 features. `least_squares` on all
    training rows gives the minimiser of the mean over examples; with weights 1 / size, that of the mean over clients.
    """
    rng = np.random.default_rng(1)
    clients, features = 10, 20
    owner = np.repeat(np.arange(clients, dtype=np.int32), 10 * np.arange(1, clients + 1))
    weights = rng.normal(size=features) + 0.5 * rng.normal(size=(clients, features))
    scale, shift = rng.uniform(0.5, 1.5, (clients, features)), 0.5 * rng.normal(size=(clients, features))

    def sample() -> tuple[np.ndarray, np.ndarray]:
        x = shift[owner] + scale[owner] * rng.normal(size=(len(owner), features))
        return x, np.einsum("md,md->m", x, weights[owner]) + 0.1 * rng.normal(size=len(owner))

    return Dataset("synthetic/linear", *sample(), *sample(), "regression", 1, owner)


def logistic() -> Dataset:
    """Binary logistic regression, badly scaled and heterogeneous: ten clients of 50 examples with 30 features.

    Rows are N(0, 1) * (1 + 2 U[0, 1]) + 0.5 N(0, 1), the latter two drawn per client and feature; a client's true
    weights are 0.5 N(0, 1), plus 2 on the first five features; labels are the signs of row . weights + 0.1 N(0, 1).
    With l2 = `smoothness` / 1000 the condition number is 1001.
    """
    rng = np.random.default_rng(0)
    clients, rows, features = 10, 50, 30
    # The training set is drawn first, the test set follows from the same generator.
    x = rng.normal(size=(clients, rows, features))
    scale = 1 + 2 * rng.uniform(size=(clients, 1, features))
    shift = 0.5 * rng.normal(size=(clients, 1, features))
    weights = 0.5 * rng.normal(size=(clients, features)) + 2.0 * (np.arange(features) < 5)

    def labelled(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = x * scale + shift
        margin = np.einsum("nmd,nd->nm", x, weights) + 0.1 * rng.normal(size=(clients, rows))
        return x.reshape(-1, features), (margin > 0).ravel().astype(np.int32)

    train = labelled(x)
    test = labelled(rng.normal(size=(clients, rows, features)))
    owner = np.repeat(np.arange(clients, dtype=np.int32), rows)
    return Dataset("synthetic/logistic", *train, *test, "classification", 2, owner)


def sparse() -> Dataset:
    """Five classes that depend on 10 of 100 features: the class is the largest entry of x W + Gumbel noise.

    That is softmax regression with weights W, `planted_weights()`, of which 90% are zero: a sparse model can be as
    good as a dense one. 2,000 training and 1,000 test examples, not divided into clients.
    """
    rng = np.random.default_rng(3)
    weights = planted_weights()

    def sample(rows: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(rows, len(weights)))
        scores = x @ weights + rng.gumbel(size=(rows, weights.shape[1]))
        return x, scores.argmax(axis=1).astype(np.int32)

    return Dataset("synthetic/sparse", *sample(2000), *sample(1000), "classification", weights.shape[1])


def planted_weights() -> np.ndarray:
    """f64[100, 5], the weights behind `sparse`: rows of N(0, 3^2) for 10 features, zeros for the others."""
    rng = np.random.default_rng(2)
    weights = np.zeros((100, 5))
    weights[rng.choice(100, 10, replace=False)] = 3 * rng.normal(size=(10, 5))
    return weights


def images() -> Dataset:
    """Ten classes of 16x16 colour images: a smooth pattern for each class, moved by up to 4 pixels, under noise.

    uint8, 2,000 for training and 500 for testing, classes equally frequent, not divided into clients.
    """
    rng = np.random.default_rng(4)
    classes, size = 10, 16
    patterns = _smooth(rng.normal(size=(classes, 4, 4, 3)), size)

    def sample(rows: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.permutation(np.arange(rows, dtype=np.int32) % classes)
        moves = rng.integers(-4, 5, (rows, 2))
        moved = np.stack(
            [np.roll(patterns[label], move, axis=(0, 1)) for label, move in zip(y, moves, strict=True)]
        )
        pixels = 128 + 40 * moved + 80 * rng.normal(size=moved.shape)
        return pixels.clip(0, 255).astype(np.uint8), y

    x, y = sample(2000)
    mean, std = (tuple(moment((0, 1, 2)).tolist()) for moment in ((x / 255).mean, (x / 255).std))
    return Dataset("synthetic/images", x, y, *sample(500), "classification", classes, mean=mean, std=std)


def _smooth(coarse: np.ndarray, size: int) -> np.ndarray:
    """Patterns [K, n, n, C] enlarged to [K, size, size, C] by periodic linear interpolation."""
    position = np.arange(size) * coarse.shape[1] / size
    first = position.astype(int)
    share = position - first
    blend = np.zeros((size, coarse.shape[1]))
    blend[np.arange(size), first] = 1 - share
    blend[np.arange(size), (first + 1) % coarse.shape[1]] += share
    return np.einsum("hi,wj,kijc->khwc", blend, blend, coarse)


class Problem(NamedTuple):
    """A synthetic problem: one line about it, the function that makes it, and what is predicted."""

    description: str
    make: Callable[[], Dataset]
    task: Task = "classification"


SYNTHETIC: dict[str, Problem] = {
    "synthetic": Problem("the same as synthetic/images", images),
    "synthetic/images": Problem("16x16 colour patterns under noise, 2,000 + 500, 10 classes", images),
    "synthetic/sparse": Problem("100 features of which 10 matter, 2,000 + 1,000, 5 classes", sparse),
    "synthetic/logistic": Problem(
        "badly scaled logistic regression, 30 features, 10 natural clients of 50, 2 classes", logistic
    ),
    "synthetic/linear": Problem(
        "least squares, 20 features, 10 natural clients of 10 to 100, regression", linear, "regression"
    ),
}


def load(name: str) -> Dataset:
    """The problem of that name: the same read-only arrays every time.

    Raises:
        UsageError: The name is not in `SYNTHETIC`.
    """
    if name not in SYNTHETIC:
        unknown_name("data set", name, SYNTHETIC)
    dataset = SYNTHETIC[name].make()
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        array.flags.writeable = False
    return dataset


# Exact minimisers. None of them has an intercept: append a column of ones to `x` for one.


def least_squares(
    x: np.ndarray, y: np.ndarray, *, l2: float = 0.0, weights: np.ndarray | None = None
) -> np.ndarray:
    """The w that minimises mean_j (x_j . w - y_j)^2 + l2 |w|^2, f64[d].

    Args:
        x: f[M, d]; of full column rank unless l2 > 0.
        y: f[M].
        l2: At least 0.
        weights: f[M], for a weighted mean; only their ratios matter.
    """
    share = _shares(len(y), weights)
    return np.linalg.solve(_gram(x, share) + l2 * np.eye(x.shape[1]), x.T @ (share * y))


def logistic_regression(
    x: np.ndarray, y: np.ndarray, *, l2: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """The w that minimises mean_j log(1 + exp(-s_j x_j . w)) + l2/2 |w|^2 with s = 2y - 1, f64[d].

    Newton's method, each step halved until the objective does not rise; stops when the gradient is rounding error.

    Args:
        x: f[M, d].
        y: [M], 0 or 1.
        l2: > 0: separable data have no minimiser without it.
        weights: f[M], for a weighted mean; only their ratios matter.
    """
    share, sign = _shares(len(y), weights), 2.0 * y - 1

    def objective(w: np.ndarray) -> float:
        return float(share @ np.logaddexp(0, -sign * (x @ w)) + l2 / 2 * w @ w)

    w = np.zeros(x.shape[1])
    for _ in range(100):
        wrong = np.exp(-np.logaddexp(0, sign * (x @ w)))  # probability of the other class
        gradient = l2 * w - x.T @ (share * sign * wrong)
        if np.linalg.norm(gradient) < 1e-14:
            break
        hessian = _gram(x, share * wrong * (1 - wrong)) + l2 * np.eye(len(w))
        step, now = np.linalg.solve(hessian, gradient), objective(w)
        while objective(w - step) > now * (1 + 1e-12):
            step /= 2
        w = w - step
    return w


def smoothness(x: np.ndarray, owner: np.ndarray) -> float:
    """max_i |A_i^T A_i| / (4 m_i): the largest curvature of any client's mean logistic loss.

    Args:
        x: f[M, d], rows A_i of all clients.
        owner: i[M], the client i of each row; m_i is its number of rows.
    """
    return max(np.linalg.norm(x[owner == i], 2) ** 2 / (4 * np.sum(owner == i)) for i in np.unique(owner))


def _shares(rows: int, weights: np.ndarray | None) -> np.ndarray:
    return np.full(rows, 1 / rows) if weights is None else weights / np.sum(weights)


def _gram(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (x.T * weights) @ x
