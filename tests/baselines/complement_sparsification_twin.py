"""Complement Sparsification (Jiang & Borcea, 2023) in NumPy float64, as XJ8/complement-sparsification-FL 2153adf.

    round 1: y_k trained densely from w;  w = sum_S p_k y_k
    later:   y_k trained densely from w;  sent = y_k 1[w == 0] (kernels), y_k (biases)
             kernels w += 1.5 sum_S p_k sent;  biases w = sum_S p_k y_k
    end of EVERY round: per kernel keep the largest |.|, half of them by default;  w = w mask

So a weight that survives is never updated by clients, only displaced. The official mask comes from the aggregate after
an epoch of tuning on pooled data, although values are those of the aggregate: `tune`. Without it the server needs no
data ("dataless").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.baselines.local_training_twin import shares

Tensors = list[np.ndarray]
AGGREGATION = 1.5


def half(size: int) -> int:
    """How many entries of a kernel stay when floor(size / 2) are pruned; the official library rounds 2.5 to 2."""
    return size - size // 2


def magnitude_mask(w: np.ndarray, keep: int) -> np.ndarray:
    """bool of w's shape: its `keep` entries of largest magnitude, ties to the first."""
    flat = np.abs(w).ravel()
    mask = np.zeros(flat.size, bool)
    mask[sorted(range(flat.size), key=lambda i: (-flat[i], i))[:keep]] = True
    return mask.reshape(w.shape)


def is_pruned(w: Tensors) -> bool:
    """How the official code tells the first round from later ones: an exact zero in the first tensor."""
    return bool(np.any(w[0] == 0))


def upload(w: Tensors, y: Tensors, kernel: Sequence[bool], *, first: bool) -> Tensors:
    """What a client sends: zero where the server has a weight of its own."""
    if first:
        return y
    return [t * (s == 0) if is_kernel else t for s, t, is_kernel in zip(w, y, kernel, strict=True)]


def run_round(
    w: Tensors,
    cohort: Sequence[int],
    train: Callable[[int, Tensors], Tensors],
    kernel: Sequence[bool],
    *,
    first: bool,
    counts: Sequence[float] | None = None,
    keep: Callable[[int], int] = half,
    tune: Callable[[Tensors], Tensors] = lambda w: w,
) -> tuple[Tensors, dict[int, Tensors]]:
    """The pruned server model, and what every client of the cohort sent.

    Args:
        w: The server's tensors.
        cohort: Ids.
        train: (client, w) -> y, dense.
        kernel: Which tensors are compressed and pruned.
        first: Whether this is round 1.
        counts: n_k; unweighted by default.
        keep: Of a kernel's size.
        tune: Model whose magnitudes give the masks, of the aggregate.
    """
    p = shares(cohort, counts)
    sent = {k: upload(w, train(k, w), kernel, first=first) for k in cohort}
    total = [sum((p[k] * sent[k][i] for k in cohort), np.zeros_like(t)) for i, t in enumerate(w)]
    aggregate = [
        t + AGGREGATION * s if is_kernel and not first else s
        for t, s, is_kernel in zip(w, total, kernel, strict=True)
    ]
    scores = tune(aggregate)
    return [
        t * magnitude_mask(score, keep(t.size)) if is_kernel else t
        for t, score, is_kernel in zip(aggregate, scores, kernel, strict=True)
    ], sent


def nonzero(tensors: Tensors) -> int:
    """Entries that travel, both ways: the client's positions follow from the server's."""
    return sum(int(np.count_nonzero(t)) for t in tensors)
