"""RigL and SET, one step and at the clients of a federation, in NumPy float64. Slow on purpose.

Step [RIGL `sparse_optimizers_base.py`], per layer, k = int(float32(n_active) * frac):

    drop   keep the n_active - k largest |m w| + noise
    grow   the k highest scores among everything not kept; RigL |dense gradient|, SET uniform numbers
    new    grown and inactive before: weight 0, momentum 0; dropped and grown again: keeps both

    RigL: a step that moves the mask takes no gradient step; SET: gradient step, then the move.
    frac_t = frac0 / 2 (1 + cos(pi min(t, end - begin) / (end - begin))), t absolute.

At the clients [FP `feddst`]: on rounds t with t mod dT = 0, 0 < t <= T_end a client trains A steps, moves its mask by
k = int(f(t) n_active), f(t) = alpha / 2 (1 + cos(pi t / T_end)), trains the rest, sends weights and mask. Server: mean
by p_k, union of masks, then the int(n density) largest |w| of the mean inside the union, per layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.baselines.twin_steps import (
    Grad,
    Leaves,
    Masks,
    cosine,
    largest,
    masked,
    ones,
    sgd,
    weighted_mean,
)

MODES = ("not_kept", "not_active", "any")
"""Where a weight may grow: RigL; the textbook's SET; everywhere, as the port of FedDST does."""


def cosine_frac(t: int, frac0: float, begin: int, end: int) -> float:
    span = end - begin
    return cosine(min(t, span), frac0, span)


def count(active: int, frac: float) -> int:
    """K in float32, as RigL counts."""
    return int(np.float32(active) * np.float32(frac))


def keep(weight: np.ndarray, mask: np.ndarray, number: int, noise: np.ndarray | float = 0.0) -> np.ndarray:
    """The `number` largest magnitudes of the active weights: an active zero goes before an inactive one."""
    return largest(np.abs(weight) + noise, number, mask)


def grow(
    score: np.ndarray, mask: np.ndarray, stays: np.ndarray, k: int, mode: str = "not_kept"
) -> np.ndarray:
    among = {"not_kept": ~stays, "not_active": ~mask, "any": np.ones_like(mask)}[mode]
    return largest(score, k, among)


def move(
    weight: np.ndarray,
    mask: np.ndarray,
    score: np.ndarray,
    k: int,
    mode: str = "not_kept",
    noise: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The layer's next mask and which of its entries are new (start at zero, without momentum)."""
    stays = keep(weight, mask, int(mask.sum()) - k, noise)
    grown = grow(score, mask, stays, k, mode)
    return stays | grown, grown & ~mask


def rigl_step(
    weight: np.ndarray,
    buffer: np.ndarray,
    mask: np.ndarray,
    score: np.ndarray,
    frac: float,
    mode: str = "not_kept",
    noise: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weight, momentum buffer, mask) after a move without a gradient step."""
    after, new = move(weight, mask, score, count(int(mask.sum()), frac), mode, noise)
    stays = after & ~new
    return np.where(stays, weight, 0.0), np.where(stays, buffer, 0.0), after


def train(
    gradient: Callable[[np.ndarray, int], np.ndarray],
    weight: np.ndarray,
    mask: np.ndarray,
    steps: int,
    *,
    lr: float,
    momentum: float,
    frac0: float,
    every: int,
    begin: int,
    end: int,
    uniform: Callable[[int], np.ndarray] | None = None,
    mode: str = "not_kept",
) -> tuple[np.ndarray, np.ndarray]:
    """One layer trained on one machine for t = 1..steps: RigL, or SET where `uniform(t)` gives the scores."""
    weight, buffer = np.where(mask, weight, 0.0), np.zeros_like(weight)
    for t in range(1, steps + 1):
        moves = t % every == 0 and begin <= t <= end
        g = gradient(weight, t)
        if not moves or uniform is not None:
            buffer = np.where(mask, momentum * buffer + g, 0.0)
            weight = np.where(mask, weight - lr * buffer, 0.0)
        if moves:
            score = np.abs(g) if uniform is None else uniform(t)
            frac = cosine_frac(t, frac0, begin, end)
            weight, buffer, mask = rigl_step(weight, buffer, mask, score, frac, mode)
    return weight, mask


def adjust_round(t: int, every: int, end: int) -> bool:
    return t % every == 0 and 0 < t <= end


def move_model(
    params: Leaves, masks: Masks, scores: Leaves, prunable: Sequence[bool], rate: float, mode: str
) -> tuple[Leaves, Masks]:
    """Drop and grow int(rate n_active) of every prunable leaf; k is counted in float64, as [FP] does."""
    after, next_masks = [], []
    for w, m, score, may in zip(params, masks, scores, prunable, strict=True):
        k = min(int(rate * int(m.sum())), int((~m).sum())) if may else 0
        mask, new = move(w, m, score, k, mode) if may else (m, np.zeros_like(m))
        after.append(np.where(mask & ~new, w, 0.0) if may else w)
        next_masks.append(mask)
    return after, next_masks


def client(
    grad: Grad,
    scores: Callable[[int, Leaves], Leaves],
    who: int,
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    steps: Sequence[int],
    lr: float,
    rate: float | None,
    before: int = 0,
    mode: str = "not_kept",
    **options: float,
) -> tuple[Leaves, Masks]:
    """Masked SGD with a move of the mask after `before` steps; `rate` None leaves the mask.

    `scores(client, model)` are |gradients| of one batch (RigL) or uniform numbers (SET). Each part of the training has
    a momentum buffer of its own; the source trains without momentum.
    """
    if rate is None:
        return sgd(grad, who, params, masks, steps, lr, **options), masks
    params = sgd(grad, who, params, masks, steps[:before], lr, **options)
    params, masks = move_model(params, masks, scores(who, params), prunable, rate, mode)
    return sgd(grad, who, params, masks, steps[before:], lr, **options), masks


def server(
    models: Sequence[Leaves],
    masks: Sequence[Masks],
    weights: Sequence[float],
    prunable: Sequence[bool],
    densities: Sequence[float],
) -> tuple[Leaves, Masks]:
    """Plain mean, union of masks, int(n density) largest of the mean inside the union. Densities: one per leaf."""
    mean = weighted_mean(models, weights)
    union = [np.logical_or.reduce(leaf) for leaf in zip(*masks, strict=True)]
    after = [
        largest(np.abs(w), int(w.size * d), u) if may else ones(w)
        for w, u, may, d in zip(mean, union, prunable, densities, strict=True)
    ]
    return masked(mean, after), after


def federated_round(
    grad: Grad,
    scores: Callable[[int, Leaves], Leaves],
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    cohort: Sequence[int],
    weights: Sequence[float],
    steps: Sequence[int],
    t: int,
    *,
    lr: float,
    alpha: float,
    every: int,
    end: int,
    densities: Sequence[float],
    before: int = 0,
    mode: str = "not_kept",
    **options: float,
) -> tuple[Leaves, Masks]:
    """A round of FedRigL or FedSET at the clients; the server picks a new mask only after a move."""
    rate = cosine(t, alpha, end) if adjust_round(t, every, end) else None
    sent = [
        client(grad, scores, c, params, masks, prunable, steps, lr, rate, before, mode, **options)
        for c in cohort
    ]
    models, client_masks = [s[0] for s in sent], [s[1] for s in sent]
    if rate is None:
        return weighted_mean(models, weights), masks
    return server(models, client_masks, weights, prunable, densities)


def bytes_sent(active: int, size: int, moved: bool, scalar: int = 4) -> int:
    """A client's upload: active scalars, and one bit for every entry where the mask moved."""
    return active * scalar + (math.ceil(size / 8) if moved else 0)
