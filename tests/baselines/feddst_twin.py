"""FedDST from its published code's description, in NumPy float64. Slow on purpose.

[DST `dst.py`, `models.py`], sparsity S, adjustment ratio a:

    ERK       raw_l = 1 - (in + out + kh + kw) / (in out kh kw), scaled so that sum_l s_l n_l = S sum_l n_l;
              keep_l = floor((1 - s_l) n_l); n_l counts weights and biases, only weights are pruned
    client    SGD with momentum (reset each round) and decay, mask applied after every step;
              if (r - 1) mod R_adj = 0 and ratio(r) > 0, after the last step, with the dense gradient of its batch
              taken again at the trained model:
                  prune per layer by |w| to S + (1 - S) a, grow per layer by |g| to S; grown weights are 0
    server    w = sum n_k m_k w_k / sum n_k m_k (0/0 = 0), other leaves the plain mean; mask = votes > min_votes;
              if it is denser than S: prune per layer by |w| to S

    ratio(r) = a * a / 2 (1 + cos(pi r / t_end)), 0 from t_end on: the code multiplies a twice. It only switches the
    adjustment on; the client prunes with a itself. Textbook: a / 2 (1 + cos) in both places.
    Growth in the code looks at all entries and so may hit kept ones, which it sets to 0 (mode "any").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.baselines.twin_steps import Grad, Leaves, Masks, cosine, dense, kept, largest, masked, pool_size

Shape = tuple[int, ...]


def raw_sparsity(shape: Shape, kind: str = "erk") -> float:
    """Shapes end with (in, out), kernel sizes before."""
    if kind == "uniform":
        return 1.0
    dims = shape if kind == "erk" else shape[-2:]
    return 1 - sum(dims) / math.prod(dims)


def layer_sparsities(
    shapes: Sequence[Shape], biases: Sequence[int], sparsity: float, kind: str = "erk"
) -> list[float]:
    sizes = [math.prod(s) + b for s, b in zip(shapes, biases, strict=True)]
    raw = [raw_sparsity(s, kind) for s in shapes]
    scale = sparsity * sum(sizes) / sum(r * n for r, n in zip(raw, sizes, strict=True))
    return [scale * r for r in raw]


def keep_counts(
    shapes: Sequence[Shape], biases: Sequence[int], sparsity: float, kind: str = "erk"
) -> list[int]:
    sizes = [math.prod(s) + b for s, b in zip(shapes, biases, strict=True)]
    layers = layer_sparsities(shapes, biases, sparsity, kind)
    return [math.floor((1 - s) * n) for s, n in zip(layers, sizes, strict=True)]


def ratio(r: int, initial: float, end: int, squared: bool = True) -> float:
    """The ratio of a round; `squared` multiplies the initial one twice, as the code does."""
    if r >= end:
        return 0.0
    return cosine(r, initial, end) * (initial if squared else 1.0)


def is_adjustment(r: int, every: int, ratio_now: float) -> bool:
    return (r - 1) % every == 0 and ratio_now > 0


def prune(
    params: Leaves, masks: Masks, prunable: Sequence[bool], counts: Sequence[int]
) -> tuple[Leaves, Masks]:
    """Per layer the `counts` largest |w| inside the mask; a layer whose count is 0 or above its size stays."""
    left, after = iter(counts), []
    for w, m, may in zip(params, masks, prunable, strict=True):
        k = next(left) if may else w.size
        after.append(largest(np.abs(w), k, m) if may and 0 < k <= w.size else m)
    return masked(params, after), after


def grow(
    params: Leaves,
    masks: Masks,
    before: Masks,
    scores: Leaves,
    prunable: Sequence[bool],
    counts: Sequence[int],
    mode: str = "any",
) -> tuple[Leaves, Masks]:
    """Per layer the missing number of highest scores among all entries, those not kept or those not active before.

    Modes "any" (code), "not_kept" and "not_active"; grown weights are 0.
    """
    left = iter(counts)
    grown_params, after = [], []
    for w, m, old, score, may in zip(params, masks, before, scores, prunable, strict=True):
        missing = next(left) - int(m.sum()) if may else 0
        among = {"any": np.ones_like(m), "not_kept": ~m, "not_active": ~(m | old)}[mode]
        grown = largest(score, missing, among)
        grown_params.append(np.where(grown, 0.0, w))
        after.append(m | grown)
    return grown_params, after


def client(
    grad: Grad,
    who: int,
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    steps: Sequence[int],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    counts: tuple[Sequence[int], Sequence[int]] | None,
    adjust_after: int | None = None,
    mode: str = "any",
) -> tuple[Leaves, Masks]:
    """Train, adjusting the mask after `adjust_after` steps (all of them by default).

    Args:
        grad: Dense gradient without weight decay.
        who: Client.
        params: Model received.
        masks: Mask received.
        prunable: Leaves with masks.
        steps: Numbers of the client's steps.
        lr: Learning rate.
        momentum: Of SGD.
        weight_decay: On all leaves.
        counts: (kept after pruning, kept after growing) per prunable layer; None in rounds without adjustment.
        adjust_after: Number of steps before the adjustment.
        mode: Where weights may grow.
    """
    params, buffer = masked(params, masks), [np.zeros_like(w) for w in params]
    for number, step in enumerate(steps, 1):
        gradient = grad(who, params, step)
        buffer = [
            momentum * v + g + weight_decay * w for v, g, w in zip(buffer, gradient, params, strict=True)
        ]
        params = masked([w - lr * v for w, v in zip(params, buffer, strict=True)], masks)
        if counts is not None and number == (len(steps) if adjust_after is None else adjust_after):
            scores = [np.abs(g) for g in grad(who, params, step)]
            params, stays = prune(params, masks, prunable, counts[0])
            params, masks = grow(params, stays, masks, scores, prunable, counts[1], mode)
    return params, masks


def aggregate(
    models: Sequence[Leaves],
    masks: Sequence[Masks],
    weights: Sequence[float],
    prunable: Sequence[bool],
    min_votes: float = 0,
) -> tuple[Leaves, Masks]:
    """Mean over the clients that hold a weight; votes are samples, and a weight needs more than `min_votes`."""
    mean, union = [], []
    for i, may in enumerate(prunable):
        number = [
            np.full(m[i].shape, float(n)) * (m[i] if may else 1) for m, n in zip(masks, weights, strict=True)
        ]
        total = np.sum(number, axis=0)
        summed = np.sum([k * w[i] for k, w in zip(number, models, strict=True)], axis=0)
        enough = (total > min_votes) & (total > 0) if may else np.ones_like(total, bool)
        mean.append(np.where(enough, summed / np.where(total > 0, total, 1), 0.0))
        union.append(enough)
    return mean, union


def server(
    models: Sequence[Leaves],
    masks: Sequence[Masks],
    weights: Sequence[float],
    prunable: Sequence[bool],
    sparsity: float,
    counts: Sequence[int],
    min_votes: float = 0,
) -> tuple[Leaves, Masks]:
    params, union = aggregate(models, masks, weights, prunable, min_votes)
    size = pool_size(params, prunable)
    if 1 - sum(kept(union, prunable)) / size < sparsity:
        params, union = prune(params, union, prunable, counts)
    return params, union


def start(params: Leaves, prunable: Sequence[bool], counts: Sequence[int]) -> tuple[Leaves, Masks]:
    return prune(params, dense(params), prunable, counts)


def federated_round(
    grad: Grad,
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    cohort: Sequence[int],
    weights: Sequence[float],
    steps: Sequence[int],
    r: int,
    *,
    biases: Sequence[int],
    sparsity: float,
    initial_ratio: float,
    every: int,
    end: int,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 1e-3,
    kind: str = "erk",
    decayed: bool = False,
    squared: bool = True,
    mode: str = "any",
    min_votes: float = 0,
) -> tuple[Leaves, Masks]:
    """Round r = 0, 1, ...; `decayed` lets the client prune with ratio(r) in place of the initial ratio.

    A client that is drawn twice has two places in the cohort.
    """
    shapes = [w.shape for w, may in zip(params, prunable, strict=True) if may]
    now = ratio(r, initial_ratio, end, squared)
    share = now if decayed else initial_ratio
    target = keep_counts(shapes, biases, sparsity, kind)
    counts = None
    if is_adjustment(r, every, now):
        counts = (keep_counts(shapes, biases, sparsity + (1 - sparsity) * share, kind), target)
    sent = [
        client(
            grad, c, params, masks, prunable, steps,
            lr=lr, momentum=momentum, weight_decay=weight_decay, counts=counts, mode=mode,
        )
        for c in cohort
    ]  # fmt: skip
    return server([s[0] for s in sent], [s[1] for s in sent], weights, prunable, sparsity, target, min_votes)


def bits(active: int, maskable: int, others: int, mask_changed: bool) -> int:
    """One way: 32 for every active weight and every other parameter, one per maskable weight if the mask changed."""
    return 32 * (active + others) + (maskable if mask_changed else 0)
