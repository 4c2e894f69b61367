"""Compressors of updates, one entry after another in NumPy float64. Slow on purpose.

    u_k = Delta_k + e_k                     e_k only with error feedback (EF); it starts at 0 and persists
    server: x += sum_S p_k D(C(u_k));  e_k = u_k - D(C(u_k));  the e_k of an absent client waits unchanged

    random-k    k indices uniform without replacement; their values as they are (with EF), or times d/k (no EF)
    EF-signSGD  C(p) = (||p||_1 / d) sign(p), per tensor; epfml/error-feedback-SGD 0f92041
    QSGD        r_i = s |u_i| / ||u||_2;  level_i = floor(r_i) + Bernoulli(r_i - floor(r_i));
                D = ||u||_2 sign(u_i) level_i / s

A compressor is (client, u) -> D(C(u)), so that draws can differ from client to client. Quirks of sands-lab/grace
have functions of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log2
from typing import Any

import numpy as np

from tests.baselines.local_training_twin import shares

Compressor = Callable[[int, np.ndarray], np.ndarray]
Tensors = list[np.ndarray]


# Error feedback, around any compressor.


def per_tensor(compress: Compressor) -> Callable[[int, Tensors], Tensors]:
    return lambda client, tensors: [compress(client, u) for u in tensors]


def flat(compress: Compressor) -> Callable[[int, Tensors], Tensors]:
    """One vector of all tensors is compressed, so that a budget is exact."""

    def apply(client: int, tensors: Tensors) -> Tensors:
        sent = compress(client, np.concatenate([u.ravel() for u in tensors]))
        ends = np.cumsum([u.size for u in tensors])[:-1]
        return [part.reshape(u.shape) for part, u in zip(np.split(sent, ends), tensors, strict=True)]

    return apply


def run_round(
    state: dict[str, Any],
    cohort: Sequence[int],
    deltas: dict[int, Tensors],
    compress: Callable[[int, Tensors], Tensors],
    *,
    counts: Sequence[float] | None = None,
    feedback: bool,
) -> tuple[dict[str, Any], dict[int, Tensors]]:
    """The state {"x": tensors, "e": tensors of each client} after a round, and what the server took for each update."""
    x, residuals, p = state["x"], list(state["e"]), shares(cohort, counts)
    sent = {}
    for k in cohort:
        u = [d + e for d, e in zip(deltas[k], residuals[k], strict=True)] if feedback else deltas[k]
        sent[k] = compress(k, u)
        if feedback:
            residuals[k] = [a - b for a, b in zip(u, sent[k], strict=True)]
    x = [t + sum(p[k] * sent[k][i] for k in cohort) for i, t in enumerate(x)]
    return {"x": x, "e": residuals}, sent


# Random-k.


def random_k(u: np.ndarray, indices: Sequence[int], *, scaled: bool) -> np.ndarray:
    sent = np.zeros_like(u)
    for i in indices:
        sent[i] = u[i] * (len(u) / len(indices) if scaled else 1.0)
    return sent


def random_k_bytes(
    d: int, k: int, b: int = 4, *, explicit: bool = False, derived_seed: bool = False
) -> float:
    """A seed of 64 bits for the round's indices, none if both sides derive it, or every index in ceil(log2 d) bits."""
    if explicit:
        return k * (b + ceil(log2(d)) / 8)
    return k * b + (0 if derived_seed else 8)


def grace_k(d: int, ratio: float) -> int:
    return max(1, int(d * ratio))


# Signs.


def sign_of_zero_is_zero(x: np.ndarray) -> np.ndarray:
    """As the official code has it; one bit cannot carry it."""
    return np.sign(x)


def sign_of_zero_is_plus(x: np.ndarray) -> np.ndarray:
    """GRACE's: honest at one bit."""
    return np.where(x >= 0, 1.0, -1.0)


def scaled_sign(p: np.ndarray, sign: Callable[[np.ndarray], np.ndarray] = sign_of_zero_is_plus) -> np.ndarray:
    return np.abs(p).sum() / p.size * sign(p)


def scaled_sign_bits(sizes: Sequence[int]) -> int:
    return sum(d + 32 for d in sizes)


def ef_sgd_step(
    x: np.ndarray,
    e: np.ndarray,
    g: np.ndarray,
    lr: float,
    sign: Callable[[np.ndarray], np.ndarray],
    *,
    scale: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The official optimiser's step, p = e + lr g; x -= C(p); e = p - C(p). Without a scale C(p) = lr sign(p)."""
    p = e + lr * g
    sent = scaled_sign(p, sign) if scale else lr * sign(p)
    return x - sent, p - sent


def grace_ef_signsgd(
    residuals: list[np.ndarray | None], gradients: list[np.ndarray], lr: float
) -> tuple[list[np.ndarray], np.ndarray]:
    """GRACE's residuals and aggregate: the first call forgets lr, and what is averaged elsewhere is a sum over lr."""
    compensated = [g if e is None else e + lr * g for e, g in zip(residuals, gradients, strict=True)]
    sent = [scaled_sign(p) for p in compensated]
    return [p - c for p, c in zip(compensated, sent, strict=True)], np.sum(sent, axis=0) / lr


def majority_vote(
    x: np.ndarray,
    deltas: Sequence[np.ndarray],
    eta: float,
    sign: Callable[[np.ndarray], np.ndarray] = sign_of_zero_is_plus,
) -> np.ndarray:
    """signSGD with majority vote: one bit each way."""
    return x + eta * sign(np.sum([sign(delta) for delta in deltas], axis=0))


# QSGD.


def l2(u: np.ndarray) -> float:
    return float(np.sqrt(np.sum(u**2)))


def largest(u: np.ndarray) -> float:
    return float(np.max(np.abs(u)))


def qsgd_levels(
    u: np.ndarray, s: int, draws: np.ndarray, norm: Callable[[np.ndarray], float] = l2
) -> tuple[float, np.ndarray]:
    """The norm and signed levels, int[d]; a draw, uniform in [0, 1), that is below the fraction rounds up."""
    scale = norm(u)
    levels = np.zeros(len(u), int)
    if scale == 0:
        return 0.0, levels
    for i, value in enumerate(u):
        r = s * abs(value) / scale
        up = draws[i] < r - np.floor(r)
        levels[i] = int(np.sign(value)) * (int(np.floor(r)) + int(up))
    return scale, levels


def qsgd(
    u: np.ndarray,
    s: int,
    draws: np.ndarray,
    norm: Callable[[np.ndarray], float] = l2,
    bucket: int | None = None,
) -> np.ndarray:
    """D(C(u)), with a norm for each run of `bucket` entries, the last one shorter; None is one bucket."""
    size = len(u) if bucket is None else bucket
    decoded = np.zeros(len(u))
    for start in range(0, len(u), size):
        part = slice(start, start + size)
        scale, levels = qsgd_levels(u[part], s, draws[part], norm)
        decoded[part] = scale * levels / s
    return decoded


def qsgd_moments(u: np.ndarray, s: int, norm: Callable[[np.ndarray], float] = l2) -> tuple[float, float]:
    """Variance E||D - u||^2 = (norm / s)^2 sum p (1 - p), and the expected number of nonzero levels, of u not zero."""
    scale = norm(u)
    r = s * np.abs(u) / scale
    p = r - np.floor(r)
    nonzero = np.where(r >= 1, 1.0, p)
    return float((scale / s) ** 2 * np.sum(p * (1 - p))), float(nonzero.sum())


def fixed_bits(d: int, s: int, bucket: int | None = None) -> int:
    """A norm in 32 bits, then a sign and a level in 0..s for each entry; per bucket."""
    size = d if bucket is None else bucket
    return 32 * ceil(d / size) + d * (1 + ceil(log2(s + 1)))


def elias(n: int) -> int:
    """Length of n >= 1: its bits, then those of their number less one, until that is 1; and a 0 that ends it."""
    length = 1
    while n > 1:
        bits = n.bit_length()
        length += bits
        n = bits - 1
    return length


def elias_sparse_bits(levels: np.ndarray) -> int:
    """Gaps count from the entry before the first, so a nonzero level at index 0 has gap 1."""
    total, before = 32, -1
    for i, level in enumerate(levels):
        if level != 0:
            total += elias(i - before) + 1 + elias(abs(int(level)))
            before = i
    return total


def elias_dense_bits(levels: np.ndarray) -> int:
    return 32 + sum(elias(abs(int(level)) + 1) + (level != 0) for level in levels)
