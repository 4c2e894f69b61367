"""FedTiny: choice by batch-norm statistics, masks moved by the server, in NumPy float64. Slow on purpose.

[FP-dev `fedtiny`], `clean` is [FP `fedtinyclean`], alpha .2, f(t) = alpha / 2 (1 + cos(pi t / T_end)):

    choice       clients run data through each candidate in training mode and send its BN parameters; the server takes
                 their mean by p_k; clients give the loss on their training data with it; least mean loss wins
    every round  masked training, mean by p_k
    adjustment   t mod dT = 0, 0 < t <= T_end: clients send gradients of one batch at their trained model; the server
                 takes their mean by p_k; per layer k = int(f(t) n_active): drop the k smallest active |w| of the mean,
                 grow the k largest |mean gradient| among inactive ones, the just dropped included. New weights are 0.
    progressive  a client sends only its k largest |gradients| among inactive entries of each layer

Index bug of the code (option `index_bug`): positions within the list of inactive entries are used as positions in the
tensor. Other quirks: candidates are seeds of the initial draw; running statistics are never averaged; losses are
averaged unweighted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.baselines.dst_twin import adjust_round, move_model
from tests.baselines.twin_steps import Grad, Leaves, Masks, absolute, cosine, largest, sgd, weighted_mean


def choose(
    statistics: Callable[[int, int], Leaves],
    loss: Callable[[int, int, Leaves], float],
    candidates: int,
    clients: Sequence[int],
    weights: Sequence[float],
    loss_weights: Sequence[float] | None = None,
) -> tuple[int, Leaves]:
    """(candidate of least mean loss, its mean statistics); of equal losses the first. Losses unweighted by default.

    Args:
        statistics: (client, candidate) -> BN arrays after that client's data.
        loss: (client, candidate, BN arrays) -> loss on the client's training data.
        candidates: How many.
        clients: Who takes part.
        weights: Samples of each, for the mean of the statistics.
        loss_weights: For the mean of the losses.
    """
    means = [weighted_mean([statistics(c, i) for c in clients], weights) for i in range(candidates)]
    losses = [
        float(np.average([loss(c, i, means[i]) for c in clients], weights=loss_weights))
        for i in range(candidates)
    ]
    best = int(np.argmin(losses))
    return best, means[best]


def survivors(gradient: np.ndarray, mask: np.ndarray, k: int, index_bug: bool = False) -> np.ndarray:
    """What a client sends in progressive mode: its k largest |gradients| at inactive entries, 0 elsewhere."""
    chosen = largest(np.abs(gradient), k, ~mask)
    if index_bug:
        inactive = np.flatnonzero(~mask)
        chosen = np.zeros(mask.size, bool)
        chosen[np.argsort(-np.abs(gradient.ravel()[inactive]), kind="stable")[:k]] = True
        chosen = chosen.reshape(mask.shape)
    return np.where(chosen, gradient, 0.0)


def number(rate: float, mask: np.ndarray) -> int:
    return int(rate * int(mask.sum()))


def client_gradient(
    gradient: Leaves, masks: Masks, prunable: Sequence[bool], rate: float, progressive: bool, index_bug: bool
) -> Leaves:
    if not progressive:
        return gradient
    return [
        survivors(g, m, number(rate, m), index_bug) if may else g
        for g, m, may in zip(gradient, masks, prunable, strict=True)
    ]


def federated_round(
    grad: Grad,
    probe: Callable[[int, Leaves], Leaves],
    params: Leaves,
    masks: Masks,
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
    progressive: bool = False,
    index_bug: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Leaves, Masks]:
    """Round t; `probe(client, model)` is the dense gradient of one batch at the trained model."""
    models = [sgd(grad, c, params, masks, steps, lr, weight_decay=weight_decay) for c in cohort]
    mean = weighted_mean(models, weights)
    if not adjust_round(t, every, end):
        return mean, masks
    rate = cosine(t, alpha, end)
    gradients = [
        client_gradient(probe(c, w), masks, prunable, rate, progressive, index_bug)
        for c, w in zip(cohort, models, strict=True)
    ]
    scores = absolute(weighted_mean(gradients, weights))
    return move_model(mean, masks, scores, prunable, rate, "not_kept")


def bytes_up(active: int, size: int, adjusts: bool, k: int | None = None, scalar: int = 4) -> int:
    """Weights; in an adjustment round also all gradients, or k values with their indices."""
    extra = size * scalar if k is None else k * (scalar + 4)
    return active * scalar + (extra if adjusts else 0)


def bytes_down(active: int, size: int, after_adjustment: bool, scalar: int = 4) -> int:
    return active * scalar + (math.ceil(size / 8) if after_adjustment else 0)
