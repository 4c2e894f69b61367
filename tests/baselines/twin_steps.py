"""What the twins of baselines with one global model share: counts by score, masks, means and masked SGD, in NumPy.

A model is a list of float64 arrays (leaves); `prunable[i]` says whether leaf i may be pruned. Masks are lists of bool
arrays, one for every leaf, all True where a leaf is not prunable. Slow on purpose: one client, one step after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

Leaves = list[np.ndarray]
Masks = list[np.ndarray]
Grad = Callable[[int, Leaves, int], Leaves]
"""(client, model, step) -> dense gradient of every leaf on the batch of that client's step."""


def largest(scores: np.ndarray, k: int, among: np.ndarray | None = None) -> np.ndarray:
    """Mask of the k entries with the highest score among those allowed; of equal scores the first by index."""
    allowed = np.flatnonzero(np.ones(scores.size, bool) if among is None else among.ravel())
    order = np.argsort(-scores.ravel()[allowed], kind="stable")[: max(k, 0)]
    mask = np.zeros(scores.size, bool)
    mask[allowed[order]] = True
    return mask.reshape(scores.shape)


def smallest(scores: np.ndarray, k: int, among: np.ndarray | None = None) -> np.ndarray:
    """Mask of the k entries with the lowest score among those allowed; of equal scores the first by index."""
    return largest(-scores, k, among)


def largest_of_pool(scores: Leaves, prunable: Sequence[bool], k: int) -> Masks:
    """The k entries with the highest score over all prunable leaves together; other leaves are kept whole."""
    pool = np.concatenate([s.ravel() for s, p in zip(scores, prunable, strict=True) if p])
    chosen, masks, start = largest(pool, k), [], 0
    for score, may in zip(scores, prunable, strict=True):
        masks.append(chosen[start : start + score.size].reshape(score.shape) if may else ones(score))
        start += score.size if may else 0
    return masks


def ones(leaf: np.ndarray) -> np.ndarray:
    return np.ones(leaf.shape, bool)


def dense(params: Leaves) -> Masks:
    return [ones(w) for w in params]


def masked(params: Leaves, masks: Masks) -> Leaves:
    return [np.where(m, w, 0.0) for w, m in zip(params, masks, strict=True)]


def absolute(params: Leaves) -> Leaves:
    return [np.abs(w) for w in params]


def kept(masks: Masks, prunable: Sequence[bool]) -> list[int]:
    """Number of entries kept in every prunable leaf."""
    return [int(m.sum()) for m, may in zip(masks, prunable, strict=True) if may]


def pool_size(params: Leaves, prunable: Sequence[bool]) -> int:
    return sum(w.size for w, may in zip(params, prunable, strict=True) if may)


def number_zeroed(size: int, sparsity: float) -> int:
    """round(s N) with Python's round, as torch's pruning counts."""
    return round(sparsity * size)


def global_prune(params: Leaves, prunable: Sequence[bool], sparsity: float) -> Leaves:
    """Zero the round(s N) smallest magnitudes of all prunable leaves together."""
    size = pool_size(params, prunable)
    return masked(params, largest_of_pool(absolute(params), prunable, size - number_zeroed(size, sparsity)))


def weighted_mean(trees: Sequence[Leaves], weights: Sequence[float]) -> Leaves:
    total = float(sum(weights))
    mean = [np.zeros_like(leaf) for leaf in trees[0]]
    for tree, weight in zip(trees, weights, strict=True):
        mean = [m + weight / total * leaf for m, leaf in zip(mean, tree, strict=True)]
    return mean


def cosine(t: float, rate: float, end: float) -> float:
    """Rate / 2 (1 + cos(pi t / end)); past the end it rises again, nothing is clamped."""
    return rate / 2 * (1 + math.cos(math.pi * t / end))


def sgd(
    grad: Grad,
    client: int,
    params: Leaves,
    masks: Masks,
    steps: Iterable[int],
    lr: float,
    *,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> Leaves:
    """Local SGD under masks: v <- mu v + (g + decay w) m, w <- (w - lr v) m. The buffer starts at zero."""
    params = masked(params, masks)
    buffer = [np.zeros_like(w) for w in params]
    for step in steps:
        gradient = grad(client, params, step)
        buffer = [
            momentum * v + np.where(m, g + weight_decay * w, 0.0)
            for v, g, w, m in zip(buffer, gradient, params, masks, strict=True)
        ]
        params = masked([w - lr * v for w, v in zip(params, buffer, strict=True)], masks)
    return params


def masked_fedavg(
    grad: Grad,
    params: Leaves,
    masks: Masks,
    cohort: Sequence[int],
    weights: Sequence[float],
    steps: Sequence[int],
    lr: float,
    **options: float,
) -> Leaves:
    """A round of FedAvg under one fixed mask: local masked SGD, mean weighted by `weights`."""
    return weighted_mean([sgd(grad, c, params, masks, steps, lr, **options) for c in cohort], weights)
