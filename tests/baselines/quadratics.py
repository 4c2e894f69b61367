"""Problems of the baselines' twins: the two clients of the golden values, and random quadratics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from tests.baselines.local_training_twin import Gradient

# f_k(x) = a_k/2 (x - b_k)^2; the minimiser of the mean is -1.25. Golden runs take K = 2 steps of .1 from 0.
A, B = np.asarray([1.0, 3.0]), np.asarray([1.0, -2.0])
BOTH, LR, K = (0, 1), 0.1, (2, 2)
START = np.zeros(1)


def golden(client: int, x: np.ndarray, step: int = 0) -> np.ndarray:
    del step
    return A[client] * (x - B[client])


def quadratic(seed: int, clients: int, d: int) -> tuple[Callable[..., np.ndarray], Gradient]:
    """Gradients of strongly convex quadratics of d variables: exact, and with noise that depends on the step."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(clients, d, d))
    curve = half @ half.transpose(0, 2, 1) / d + np.eye(d)
    centre, noise = rng.normal(size=(clients, d)), rng.normal(size=(clients, 10, d))

    def exact(client: int, x: np.ndarray, step: int = 0) -> np.ndarray:
        del step
        return curve[client] @ (x - centre[client])

    return exact, lambda client, x, step: exact(client, x) + noise[client, step]


def close(actual: ArrayLike, expected: ArrayLike, digits: int = 12) -> None:
    """Equal to so many digits after the point, as printed; scalars and vectors of one entry are the same."""
    np.testing.assert_allclose(np.ravel(actual), np.ravel(expected), rtol=0, atol=0.51 * 10.0**-digits)
