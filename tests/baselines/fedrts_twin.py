"""FedRTS: masks drawn by Thompson sampling from Beta posteriors at the server, in NumPy float64. Slow on purpose.

[FP `fedrts`], A = B = 1 at the start, gamma .5, lambda 10, f(t) = alpha / 2 (1 + cos(pi t / T_end)):

    every round, per layer: K active, k = int(f(t) K), kappa = K - k
        o = (1 - gamma) 1[top-kappa |mean w|] + gamma sum_k p_k 1[top-kappa |w_k|]            active entries
        A += lambda o ; B += lambda (1 - o)
    adjustment, t mod dT = 0, 0 < t <= T_end: clients send the indices of their top-k |gradient| among inactive entries
        o = (1 - gamma) / 2 + gamma sum_k p_k 1[index sent]                                   inactive entries, as above
        draw Beta(A, B) for all entries; mask = top-K draws; new weights 0

f is not clamped past T_end, and the vote goes on. Posteriors accumulate for the whole run.
In-place bug of the code (option `in_place_bug`): client 0 votes with the mean model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tests.baselines.dst_twin import adjust_round
from tests.baselines.twin_steps import Grad, Leaves, Masks, cosine, largest, masked, sgd, weighted_mean

Draw = Callable[[int, int, np.ndarray, np.ndarray], np.ndarray]
"""(t, leaf, A, B) -> one draw of Beta(A, B) for every entry."""


class Server(NamedTuple):
    """Model, masks and Beta parameters of every entry; of leaves that are not prunable they stay 1."""

    params: Leaves
    masks: Masks
    a: Leaves
    b: Leaves


def start(params: Leaves, masks: Masks) -> Server:
    return Server(
        masked(params, masks), masks, [np.ones_like(w) for w in params], [np.ones_like(w) for w in params]
    )


def votes(entries: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Sum of p_k 1[client k chose the entry]."""
    total = float(sum(weights))
    return np.sum([n / total * e for e, n in zip(entries, weights, strict=True)], axis=0)


def active_outcome(
    mean: np.ndarray,
    models: Sequence[np.ndarray],
    weights: Sequence[float],
    mask: np.ndarray,
    kappa: int,
    gamma: float,
    in_place_bug: bool = False,
) -> np.ndarray:
    voters = [mean, *models[1:]] if in_place_bug else models
    chosen = [largest(np.abs(w), kappa, mask) for w in voters]
    return (1 - gamma) * largest(np.abs(mean), kappa, mask) + gamma * votes(chosen, weights)


def inactive_outcome(
    gradients: Sequence[np.ndarray], weights: Sequence[float], mask: np.ndarray, k: int, gamma: float
) -> np.ndarray:
    return (1 - gamma) / 2 + gamma * votes([largest(np.abs(g), k, ~mask) for g in gradients], weights)


def update(
    a: np.ndarray, b: np.ndarray, outcome: np.ndarray, where: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    return np.where(where, a + strength * outcome, a), np.where(where, b + strength * (1 - outcome), b)


def federated_round(
    grad: Grad,
    probe: Callable[[int, Leaves], Leaves],
    draw: Draw,
    server: Server,
    prunable: Sequence[bool],
    cohort: Sequence[int],
    weights: Sequence[float],
    steps: Sequence[int],
    t: int,
    *,
    lr: float,
    alpha: float = 0.2,
    every: int = 10,
    end: int = 300,
    gamma: float = 0.5,
    strength: float = 10.0,
    weight_decay: float = 0.0,
    in_place_bug: bool = False,
) -> Server:
    """Round t; `probe(client, model)` is the dense gradient of one batch at the trained model; `strength` is lambda."""
    models = [sgd(grad, c, server.params, server.masks, steps, lr, weight_decay=weight_decay) for c in cohort]
    mean = weighted_mean(models, weights)
    adjusts, rate = adjust_round(t, every, end), cosine(t, alpha, end)
    gradients = [probe(c, w) for c, w in zip(cohort, models, strict=True)] if adjusts else []
    masks, a, b = list(server.masks), list(server.a), list(server.b)
    for i, may in enumerate(prunable):
        if not may:
            continue
        mask = server.masks[i]
        active = int(mask.sum())
        k = int(rate * active)
        outcome = active_outcome(
            mean[i], [w[i] for w in models], weights, mask, active - k, gamma, in_place_bug
        )
        a[i], b[i] = update(a[i], b[i], outcome, mask, strength)
        if adjusts:
            outcome = inactive_outcome([g[i] for g in gradients], weights, mask, k, gamma)
            a[i], b[i] = update(a[i], b[i], outcome, ~mask, strength)
            masks[i] = largest(draw(t, i, a[i], b[i]), active)
    return Server(masked(mean, masks), masks, a, b)


def bytes_of_adjustment(k: int) -> int:
    """Indices alone, four bytes each, beside the weights."""
    return 4 * k
