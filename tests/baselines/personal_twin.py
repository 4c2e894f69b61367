"""What the twins of the personalised sparse baselines share, in NumPy float64 and plain loops. Slow on purpose.

Parameters are lists of float64 arrays and masks lists of bool arrays of the same shapes. Ties go to the lowest index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Params = list[np.ndarray]
Masks = list[np.ndarray]
Gradient = Callable[[int, Params, int], Params]  # (client, params, local step of this round) -> gradients
Accuracy = Callable[[int, Params], float]
Scores = Callable[
    [int, Params], Params
]  # (client, params) -> what regrowth ranks: |dense gradient|, or drawn numbers


def dense(params: Params) -> Masks:
    return [np.ones(p.shape, bool) for p in params]


def masked(params: Params, masks: Masks) -> Params:
    return [p * m for p, m in zip(params, masks, strict=True)]


def density(masks: Masks) -> float:
    return sum(int(m.sum()) for m in masks) / sum(m.size for m in masks)


def mean(models: Sequence[Params], weights: Sequence[float] | None = None) -> Params:
    """The mean of models; plain without weights."""
    shares = np.ones(len(models)) if weights is None else np.asarray(weights, float)
    shares = shares / shares.sum()
    result = [np.zeros_like(p) for p in models[0]]
    for share, model in zip(shares, models, strict=True):
        result = [r + share * p for r, p in zip(result, model, strict=True)]
    return result


def mean_of_holders(models: Sequence[Params], masks: Sequence[Masks], otherwise: Params) -> Params:
    """Coordinate by coordinate, the sum of the models over the number of masks; ``otherwise`` where nobody has it."""
    result = []
    for leaf, old in enumerate(otherwise):
        total, votes = np.zeros_like(old), np.zeros(old.shape, int)
        for model, mask in zip(models, masks, strict=True):
            total, votes = total + model[leaf], votes + mask[leaf]
        result.append(np.where(votes > 0, total / np.maximum(votes, 1), old))
    return result


def clipped(gradients: Params, norm: float) -> Params:
    """Gradients whose global norm is at most ``norm``."""
    length = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return [g * norm / length for g in gradients] if length > norm else gradients


def sgd(
    gradient: Callable[[Params, int], Params],
    params: Params,
    steps: range,
    lr: float,
    *,
    before: Callable[[Params, Params], Params] | None = None,
    after: Callable[[Params], Params] | None = None,
    momentum: float = 0.0,
    decay: float = 0.0,
    clip: float = math.inf,
) -> Params:
    """Local steps in the order of the official codes: gradient, ``before``, clip, weight decay, momentum, ``after``.

    Args:
        gradient: (params, step) -> gradients.
        params: The first model.
        steps: The numbers of the steps.
        lr: Learning rate.
        before: (gradients, params) -> gradients, ahead of clipping.
        after: params -> params, after every step.
        momentum: Of PyTorch: buffer = momentum * buffer + gradient, zero at first.
        decay: Weight decay, outside the clip.
        clip: The largest global norm of the gradient.
    """
    buffers = [np.zeros_like(p) for p in params]
    for step in steps:
        gradients = gradient(params, step)
        gradients = gradients if before is None else before(gradients, params)
        gradients = clipped(gradients, clip)
        buffers = [momentum * b + g + decay * p for b, g, p in zip(buffers, gradients, params, strict=True)]
        params = [p - lr * b for p, b in zip(params, buffers, strict=True)]
        params = params if after is None else after(params)
    return params


def cosine(start: float, t: int, rounds: int) -> float:
    """start / 2 * (1 + cos(pi t / rounds))."""
    return start / 2 * (1 + math.cos(math.pi * t / rounds))


def changed(rate: float, mask: np.ndarray) -> int:
    """ceil(rate * active). The product is rounded first: 0.125 * 8 may come out a hair above 1, and means 1."""
    return math.ceil(round(rate * int(mask.sum()), 9))


def without_smallest(w: np.ndarray, mask: np.ndarray, count: int) -> np.ndarray:
    """The mask without the ``count`` active entries of least magnitude."""
    order = np.argsort(np.where(mask, np.abs(w), np.inf), axis=None, kind="stable")
    new = mask.copy().reshape(-1)
    new[order[:count]] = False
    return new.reshape(mask.shape)


def with_largest(mask: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """The mask and the ``count`` inactive entries of largest score; what was just dropped may come back."""
    order = np.argsort(np.where(mask, np.inf, -scores), axis=None, kind="stable")
    new = mask.copy().reshape(-1)
    new[order[:count]] = True
    return new.reshape(mask.shape)


def below_percentile(w: np.ndarray, mask: np.ndarray, percent: float) -> np.ndarray:
    """The mask without what is strictly below the percentile (linear interpolation) of |w| over alive entries.

    Alive is "not zero within the mask", as in the official codes; a tensor without such entries keeps its mask.
    """
    alive = np.abs(w[(w * mask) != 0])
    if not len(alive):
        return mask.copy()
    return mask & (np.abs(w) >= np.percentile(alive, percent))


def quadratics(curvatures: np.ndarray, targets: np.ndarray) -> Gradient:
    """The toy problem of the tests: client k has loss sum a_k / 2 (x - b_k)^2, over all leaves laid end to end."""

    def grad(client: int, params: Params, step: int) -> Params:
        del step
        ends = np.cumsum([p.size for p in params])[:-1]
        flat = np.concatenate([p.reshape(-1) for p in params])
        gradient = curvatures[client] * (flat - targets[client])
        return [g.reshape(p.shape) for g, p in zip(np.split(gradient, ends), params, strict=True)]

    return grad
