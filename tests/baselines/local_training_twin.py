"""Local training with and without communication, one step after another in NumPy float64. Slow on purpose.

    alone   y_k = x0;  K_k times  y_k -= lr g_k(y_k)                    nothing is sent
    FedAvg  y_k from x as above;  x += server_lr sum_S p_k (y_k - x)    "Local SGD" of the literature

A gradient is grad(client, model, step): step counts from 0 within the round. Steps K_k are each client's own.
Means over a cohort are unweighted (p_k = 1 / |S|) unless numbers of samples n_k are given: p_k = n_k / sum_S n_j.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Gradient = Callable[[int, np.ndarray, int], np.ndarray]


def sgd(grad: Gradient, client: int, x: np.ndarray, *, steps: int, lr: float) -> np.ndarray:
    y = x.copy()
    for step in range(steps):
        y = y - lr * grad(client, y, step)
    return y


def shares(cohort: Sequence[int], counts: Sequence[float] | None = None) -> dict[int, float]:
    """p_k of each client of the cohort; counts is indexed by client."""
    if counts is None:
        return {k: 1 / len(cohort) for k in cohort}
    total = sum(counts[k] for k in cohort)
    return {k: counts[k] / total for k in cohort}


def mean(
    values: Mapping[int, np.ndarray], cohort: Sequence[int], counts: Sequence[float] | None = None
) -> np.ndarray:
    p = shares(cohort, counts)
    return sum((p[k] * values[k] for k in cohort), np.zeros_like(values[cohort[0]]))


def fedavg_round(
    x: np.ndarray,
    cohort: Sequence[int],
    grad: Gradient,
    *,
    steps: Sequence[int],
    lr: float,
    server_lr: float = 1.0,
    counts: Sequence[float] | None = None,
) -> np.ndarray:
    deltas = {k: sgd(grad, k, x, steps=steps[k], lr=lr) - x for k in cohort}
    return x + server_lr * mean(deltas, cohort, counts)


def alone(
    x: np.ndarray, grad: Gradient, *, steps: Sequence[int], lr: Callable[[int], float], rounds: int
) -> np.ndarray:
    """f[N, d]: every client trains from the same x for the whole budget of a run of so many rounds.

    Args:
        x: f[d].
        grad: Of one client; step counts from 0 in every round.
        steps: Steps a round, of each client.
        lr: Step size of a round: the schedule of the run that is compared with.
        rounds: R.
    """
    models = []
    for k in range(len(steps)):
        y = x
        for t in range(rounds):
            y = sgd(grad, k, y, steps=steps[k], lr=lr(t))
        models.append(y)
    return np.stack(models)


def report(models: np.ndarray, accuracy: Callable[[np.ndarray, int | None], float]) -> dict[str, float]:
    """The three figures; accuracy(model, client) is on that client's own test split, None being the global test set."""
    return {
        "personal": float(np.mean([accuracy(y, k) for k, y in enumerate(models)])),
        "mean_global": float(np.mean([accuracy(y, None) for y in models])),
        "oneshot_average": accuracy(np.mean(models, axis=0), None),
    }
