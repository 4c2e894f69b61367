"""ZeroFL with SWAT, original and as SparsyFed compares with it, in NumPy float64. Slow on purpose.

Original [ZFL, SWAT], sparsity sp, prunable leaves W (3x3 convolutions there), input layer dense:

    forward      z = a W', W' = the largest |W| of the layer
    backward     grad a = z_grad W'^T ;  grad W = A^T z_grad, A = the largest |a| ;  W <- W - lr grad W, dense
    evaluation   with W'
    uplink       K = 1 - sp + r_mask
                 Top-K-Weights           largest |w_E|, sent as weights             server: w = sum p_k sent_k
                 Diff on Top-K-Weights   w_E - w_t where |w_E| is largest           server: w = w_t + sum p_k sent_k
                 Top-K-Weights Diff      largest |w_E - w_t|, sent as differences   server: as above

SparsyFed's comparison version [CODE `swat_modules.py`, `train_test.py`]: every training forward overwrites the layer's
weights by the entries with |w| >= t, t from the first batch of the round; after training a global prune to sp - mask of
all prunable leaves; the server's mean (FedAvgNZ) is FedAvg; evaluation with the mean as it is.

Counts, which the sources leave open for the original: ceil((1 - sp) n) per layer as for activations, n - round(s n) of
the pool at upload.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.baselines.twin_steps import (
    Grad,
    Leaves,
    Masks,
    absolute,
    global_prune,
    largest,
    largest_of_pool,
    masked,
    number_zeroed,
    ones,
    pool_size,
    weighted_mean,
)

SCHEMES = ("top_k_weights", "diff_on_top_k_weights", "top_k_weights_diff")


def threshold(x: np.ndarray, sparsity: float) -> float:
    """The ceil((1 - s) numel)-th largest magnitude of the whole tensor."""
    k = max(math.ceil((1 - sparsity) * x.size), 1)
    return float(np.sort(np.abs(x).ravel())[::-1][k - 1])


def at_least(x: np.ndarray, limit: float) -> np.ndarray:
    """Entries with |x| >= limit, ties kept; zero elsewhere."""
    return np.where(np.abs(x) >= limit, x, 0.0)


def active(params: Leaves, sparse: Sequence[bool], sparsity: float) -> Leaves:
    """The weights of the forward pass and of evaluation: exactly ceil((1 - s) n) of every sparse leaf."""
    return [
        np.where(largest(np.abs(w), math.ceil((1 - sparsity) * w.size)), w, 0.0) if may else w
        for w, may in zip(params, sparse, strict=True)
    ]


def swat_gradient(
    params: Leaves, x: np.ndarray, y: np.ndarray, sparse: Sequence[bool], sparsity: float
) -> tuple[float, Leaves]:
    """Mean cross-entropy of a ReLU network [w0, b0, w1, b1, ...] and SWAT's gradient of it.

    Weights are taken as given (hand in `active(params)`); only the activations of sparse layers are pruned, over the
    whole batch, and only where they multiply the cotangent. x: f[n, in], y: i[n]; w: f[in, out].
    """
    layers, inputs = len(params) // 2, [x]
    for i in range(layers):
        z = inputs[-1] @ params[2 * i] + params[2 * i + 1]
        inputs.append(np.maximum(z, 0) if i < layers - 1 else z)
    logits = inputs[-1] - inputs[-1].max(1, keepdims=True)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    z_grad = (np.exp(logp) - np.eye(logits.shape[1])[y]) / len(y)
    gradient: Leaves = [np.zeros(0)] * len(params)
    for i in reversed(range(layers)):
        a = at_least(inputs[i], threshold(inputs[i], sparsity)) if sparse[2 * i] else inputs[i]
        gradient[2 * i], gradient[2 * i + 1] = a.T @ z_grad, z_grad.sum(0)
        z_grad = (z_grad @ params[2 * i].T) * (inputs[i] > 0)
    return -float(logp[np.arange(len(y)), y].mean()), gradient


def local(
    grad: Grad,
    client: int,
    params: Leaves,
    sparse: Sequence[bool],
    sparsity: float,
    steps: Sequence[int],
    lr: float,
    weight_decay: float = 0.0,
) -> Leaves:
    """Dense weights moved by the gradient at their active part; decay acts on the dense weights."""
    for step in steps:
        gradient = grad(client, active(params, sparse, sparsity), step)
        params = [w - lr * (g + weight_decay * w) for w, g in zip(params, gradient, strict=True)]
    return params


def sent_where(scores: Leaves, prunable: Sequence[bool], sparsity: float, scope: str) -> Masks:
    """Positions sent: all but round(sparsity n) of the pool ("global") or of every prunable leaf ("layer")."""
    if scope == "global":
        size = pool_size(scores, prunable)
        return largest_of_pool(scores, prunable, size - number_zeroed(size, sparsity))
    return [
        largest(s, s.size - number_zeroed(s.size, sparsity)) if may else ones(s)
        for s, may in zip(scores, prunable, strict=True)
    ]


def upload(
    start: Leaves,
    trained: Leaves,
    prunable: Sequence[bool],
    sparsity: float,
    r_mask: float,
    scheme: str,
    scope: str = "global",
) -> Leaves:
    """What a client sends: zero outside the K = 1 - sp + r_mask largest; leaves that are not prunable whole."""
    change = [e - s for e, s in zip(trained, start, strict=True)]
    scores = absolute(change if scheme == "top_k_weights_diff" else trained)
    where = sent_where(scores, prunable, sparsity - r_mask, scope)
    return masked(trained if scheme == "top_k_weights" else change, where)


def server(params: Leaves, sent: Sequence[Leaves], weights: Sequence[float], scheme: str) -> Leaves:
    mean = weighted_mean(sent, weights)
    return mean if scheme == "top_k_weights" else [w + m for w, m in zip(params, mean, strict=True)]


def round_of_original(
    grad: Grad,
    params: Leaves,
    sparse: Sequence[bool],
    prunable: Sequence[bool],
    cohort: Sequence[int],
    weights: Sequence[float],
    steps: Sequence[int],
    *,
    lr: float,
    sparsity: float,
    r_mask: float,
    scheme: str,
    scope: str = "global",
    weight_decay: float = 0.0,
) -> Leaves:
    trained = [local(grad, c, params, sparse, sparsity, steps, lr, weight_decay) for c in cohort]
    sent = [upload(params, w, prunable, sparsity, r_mask, scheme, scope) for w in trained]
    return server(params, sent, weights, scheme)


def local_of_comparison(
    grad: Grad,
    client: int,
    params: Leaves,
    sparse: Sequence[bool],
    sparsity: float,
    steps: Sequence[int],
    lr: float,
    weight_decay: float = 0.0,
) -> Leaves:
    """Every step loses the weights below the threshold of the round's first batch, then adds a dense gradient.

    No threshold at sparsity 0: the smallest weight would be one, and later steps would lose what falls below it.
    """
    limits = [
        threshold(w, sparsity) if may and sparsity > 0 else 0.0 for w, may in zip(params, sparse, strict=True)
    ]
    for step in steps:
        params = [at_least(w, t) for w, t in zip(params, limits, strict=True)]
        gradient = grad(client, params, step)
        params = [w - lr * (g + weight_decay * w) for w, g in zip(params, gradient, strict=True)]
    return params


def round_of_comparison(
    grad: Grad,
    params: Leaves,
    sparse: Sequence[bool],
    prunable: Sequence[bool],
    cohort: Sequence[int],
    weights: Sequence[float],
    steps: Sequence[int],
    *,
    lr: float,
    sparsity: float,
    r_mask: float = 0.0,
    weight_decay: float = 0.0,
) -> Leaves:
    trained = [
        local_of_comparison(grad, c, params, sparse, sparsity, steps, lr, weight_decay) for c in cohort
    ]
    return weighted_mean([global_prune(w, prunable, sparsity - r_mask) for w in trained], weights)


def non_zero_mean(trees: Sequence[Leaves], weights: Sequence[float]) -> Leaves:
    """FedAvgNZ as written: the mean of weights times their non-zero mask, still over the total of samples."""
    return weighted_mean([[w * (w != 0) for w in tree] for tree in trees], weights)


def csr_bytes(entries: float, dense: float) -> float:
    """Four bytes of value and four of index for every entry sent, four for every dense scalar."""
    return 8 * entries + 4 * dense


def learning_rate(r: int, rounds: int, start: float, end: float) -> float:
    """start exp(r / T ln(end / start)), rounds counted from 1 in the comparison; goes on falling past T."""
    return start * math.exp(r / rounds * math.log(end / start))
