"""SNIP and GraSP with the data of all clients, one fixed mask, in NumPy float64. Slow on purpose.

    SNIP    |g w|                            [SN, SG; equals |dL/dc| at c = 1 of the gated weights c w]
    GraSP   w (H g), the largest are kept    [FS; GR removes the largest of -w H g]

Before round 0 every client averages its scores over I batches at the same w0 and sends them; the server takes the
uniform mean (or p_k), divides by the sum and keeps scores >= the k-th largest, k = int(N density), over all prunable
leaves together, ties included [SG]. SNIP by one client [FS]: k = round(N (1 - s)). On all clients with a union of
votes [FS@5c6ac1d]: each client's own mask, kept if anyone keeps it.
Training [SG]: lr_r = lr 0.998^r, clip the norm of the whole unmasked gradient to 10, SGD step, mask the weights, mean
by samples. w0 is masked before round 0 (the code trains round 0 from the dense one).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.baselines.twin_steps import (
    Grad,
    Leaves,
    Masks,
    largest_of_pool,
    masked,
    ones,
    pool_size,
    weighted_mean,
)

HessianVector = Callable[[int, Leaves, Leaves, int], Leaves]
"""(client, model, vector, batch) -> Hessian of the loss on that batch times the vector."""


def snip(params: Leaves, gradient: Leaves) -> Leaves:
    return [np.abs(g * w) for g, w in zip(gradient, params, strict=True)]


def grasp(params: Leaves, hessian_gradient: Leaves) -> Leaves:
    return [w * h for w, h in zip(params, hessian_gradient, strict=True)]


def client_snip(grad: Grad, client: int, params: Leaves, batches: Sequence[int]) -> Leaves:
    """Mean over batches of |g w|, all at the same model."""
    return weighted_mean([snip(params, grad(client, params, b)) for b in batches], [1.0] * len(batches))


def client_grasp(
    grad: Grad,
    hessian: HessianVector,
    client: int,
    params: Leaves,
    batches: Sequence[int],
    prunable: Sequence[bool],
) -> Leaves:
    """W (H g), g and H summed over the batches ([GR]: two halves of one), g of the prunable leaves alone."""
    gradient = [
        np.sum(leaf, axis=0) for leaf in zip(*(grad(client, params, b) for b in batches), strict=True)
    ]
    gradient = [g if may else np.zeros_like(g) for g, may in zip(gradient, prunable, strict=True)]
    products = [hessian(client, params, gradient, b) for b in batches]
    return grasp(params, [np.sum(leaf, axis=0) for leaf in zip(*products, strict=True)])


def normalised(scores: Leaves, prunable: Sequence[bool]) -> Leaves:
    """Scores over their sum; a SNIP score's sum is positive, a GraSP score's is taken of magnitudes."""
    total = sum(float(np.abs(s).sum()) for s, may in zip(scores, prunable, strict=True) if may)
    return [s / total if may else s for s, may in zip(scores, prunable, strict=True)]


def top_with_ties(scores: Leaves, prunable: Sequence[bool], k: int) -> Masks:
    """Scores >= the k-th largest of all prunable leaves together."""
    if k <= 0:
        return [np.zeros(s.shape, bool) if may else ones(s) for s, may in zip(scores, prunable, strict=True)]
    pool = np.concatenate([s.ravel() for s, may in zip(scores, prunable, strict=True) if may])
    limit = np.sort(pool)[::-1][k - 1]
    return [s >= limit if may else ones(s) for s, may in zip(scores, prunable, strict=True)]


def number_kept(params: Leaves, prunable: Sequence[bool], density: float) -> int:
    return int(pool_size(params, prunable) * density)


def mean_mask(
    client_scores: Sequence[Leaves],
    prunable: Sequence[bool],
    density: float,
    weights: Sequence[float] | None = None,
    ties: bool = True,
) -> Masks:
    """One mask from the mean of the clients' scores, uniform unless weights are given.

    `ties` False keeps exactly k, of equal scores the first by index.
    """
    mean = weighted_mean(client_scores, weights or [1.0] * len(client_scores))
    k = number_kept(mean, prunable, density)
    scores = normalised(mean, prunable)
    return top_with_ties(scores, prunable, k) if ties else largest_of_pool(scores, prunable, k)


def union_mask(client_scores: Sequence[Leaves], prunable: Sequence[bool], sparsity: float) -> Masks:
    """Every client's own SNIP mask of round(N (1 - s)) entries, kept if one of them keeps it."""
    k = round(pool_size(client_scores[0], prunable) * (1 - sparsity))
    masks = [top_with_ties(s, prunable, k) for s in client_scores]
    return [np.logical_or.reduce(leaf) for leaf in zip(*masks, strict=True)]


def learning_rate(r: int, lr: float = 0.1, decay: float = 0.998) -> float:
    return lr * decay**r


def clipped(gradient: Leaves, limit: float) -> Leaves:
    norm = float(np.sqrt(sum(float((g**2).sum()) for g in gradient)))
    return [g * min(1.0, limit / norm) if norm > 0 else g for g in gradient]


def train(
    grad: Grad,
    client: int,
    params: Leaves,
    masks: Masks,
    steps: Sequence[int],
    lr: float,
    clip: float = 10.0,
    weight_decay: float = 0.0,
    clip_masked: bool = False,
) -> Leaves:
    """SGD, weights masked after the step; `clip_masked` takes the norm under the mask [SSFL]. Decay is not clipped."""
    for step in steps:
        gradient = grad(client, params, step)
        gradient = clipped(masked(gradient, masks) if clip_masked else gradient, clip)
        params = masked(
            [w - lr * (g + weight_decay * w) for w, g in zip(params, gradient, strict=True)], masks
        )
    return params


def federated_round(
    grad: Grad,
    params: Leaves,
    masks: Masks,
    cohort: Sequence[int],
    samples: Sequence[float],
    steps: Sequence[int],
    r: int,
    clip: float = 10.0,
    weight_decay: float = 0.0,
    clip_masked: bool = False,
) -> Leaves:
    """Round r = 0, 1, ... from a model that may be dense in round 0."""
    lr = learning_rate(r)
    models = [train(grad, c, params, masks, steps, lr, clip, weight_decay, clip_masked) for c in cohort]
    return weighted_mean(models, samples)
