"""A model of two layers whose clients have quadratic losses: exact gradients in float64, different at every step."""

from __future__ import annotations

import numpy as np

from tests.baselines import static_masks_twin

SHAPES = ((6, 5), (5,), (5, 4), (4,))
PRUNABLE = [True, False, True, False]


def model(seed: int = 0) -> list[np.ndarray]:
    """Weights and biases of two layers; no entry is zero."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in SHAPES]


def grad(client: int, params: list[np.ndarray], step: int) -> list[np.ndarray]:
    """Gradient of sum_i a_i (w_i - b_i)^2 / 2 with a and b of this client and step."""
    rng = np.random.default_rng([client, step])
    return [rng.uniform(0.1, 1, w.shape) * (w - rng.normal(size=w.shape)) for w in params]


def uniform(seed: int) -> list[np.ndarray]:
    """Scores between 0 and 1 for every entry of the model."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(size=shape) for shape in SHAPES]


def probe(client: int, params: list[np.ndarray]) -> list[np.ndarray]:
    """Gradient on a batch of its own, for scores."""
    return grad(client, params, 99)


def start(density: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The model pruned by magnitude to a uniform density, and its masks."""
    params = model()
    return static_masks_twin.start(params, [np.abs(w) for w in params], PRUNABLE, density, "uniform")


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Whether all leaves are equal bit for bit."""
    return all((x == y).all() for x, y in zip(a, b, strict=True))
