"""Deep Gradient Compression (Lin et al., 2018) in NumPy float64, as synxlin/deep-gradient-compression 24673d4.

Per worker and tensor of more than one dimension:

    g = clip(g)                             optional
    u = m u + g;  v = v + u                 Nesterov: u = m (u + g); v = v + u + g
    send the k = ceil(d ratio) largest |v|; there v = 0, and u = 0 too with momentum masking
    x -= lr (mean of sent + decay term)     the decay has a momentum of its own, after compression

Tensors of one dimension, and all of them at a ratio of 1, are sent dense: momentum then is the server's, on the mean.

Federated: the step is a round and g = -Delta_k / eta_l, or -Delta_k with a server's step size of 1; u_k and v_k
persist and wait unchanged while their client is absent; clients train without momentum.

Warm-up over W epochs: ratio_e = max(ratio^((e + 1) / (W + 1)), ratio).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from tests.baselines.local_training_twin import shares

State = dict[str, Any]


def kept(d: int, ratio: float) -> int:
    return ceil(d * ratio)


def warm_up_ratio(ratio: float, epoch: int, epochs: int) -> float:
    """Of an epoch from 0; epochs of at most 0 is no warm-up."""
    if epochs <= 0:
        return ratio
    return max(ratio ** ((epoch + 1) / (epochs + 1)), ratio)


def accumulate(
    u: np.ndarray, v: np.ndarray, g: np.ndarray, momentum: float, *, nesterov: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    if nesterov:
        u = momentum * (u + g)
        return u, v + u + g
    u = momentum * u + g
    return u, v + u


def largest(v: np.ndarray, k: int) -> list[int]:
    """Indices of the k largest |v|, ties to the first."""
    return sorted(range(len(v)), key=lambda i: (-abs(v[i]), i))[:k]


def sampled_largest(v: np.ndarray, k: int, ratio: float, sample: Sequence[int]) -> list[int]:
    """The official selection: a threshold from a sample's entries, made to fit, then the first k in index order.

    At most k come out, fewer where ten reductions of the threshold by .8 do not find .8 k.
    """
    ordered = sorted((abs(v[i]) for i in sample), reverse=True)
    threshold = ordered[ceil(len(sample) * ratio) - 1]
    chosen = [i for i in range(len(v)) if abs(v[i]) >= threshold]
    for _ in range(10):
        if len(chosen) > 1.3 * k:
            chosen = sorted(sorted(chosen, key=lambda i: (-abs(v[i]), i))[:k])
        elif len(chosen) < 0.8 * k:
            threshold *= 0.8
            chosen = [i for i in range(len(v)) if abs(v[i]) >= threshold]
        else:
            break
    return chosen[:k]


def compress(
    u: np.ndarray, v: np.ndarray, indices: Sequence[int], *, masking: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is sent, as a vector with zeros elsewhere, then u and v after it."""
    sent, u, v = np.zeros_like(v), u.copy(), v.copy()
    for i in indices:
        sent[i], v[i] = v[i], 0.0
        if masking:
            u[i] = 0.0
    return sent, u, v


def dense(
    u: np.ndarray, g: np.ndarray, momentum: float, *, nesterov: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Plain momentum of a mean gradient: what the model takes, then the momentum."""
    if nesterov:
        u = momentum * (u + g)
        return u + g, u
    u = momentum * u + g
    return u, u


def is_dense(t: np.ndarray, ratio: float) -> bool:
    return t.ndim == 1 or ratio >= 1


def init(x: list[np.ndarray], clients: int) -> State:
    """Tensors of any shape; u and v hold one vector a tensor for every client, m and decay one a tensor."""
    empty = [np.zeros(t.size) for t in x]
    return {"x": x, "u": [empty] * clients, "v": [empty] * clients, "m": empty, "decay": empty}


def send(
    tensors: list[np.ndarray],
    u: list[np.ndarray],
    v: list[np.ndarray],
    *,
    ratio: float,
    momentum: float,
    masking: bool,
    nesterov: bool,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """A client's messages for its gradients, one vector a tensor, then its u and v; selection is exact top-k."""
    sent, us, vs = [], [], []
    for t, u_t, v_t in zip(tensors, u, v, strict=True):
        message = t.ravel()
        if not is_dense(t, ratio):
            u_t, v_t = accumulate(u_t, v_t, message, momentum, nesterov=nesterov)
            message, u_t, v_t = compress(u_t, v_t, largest(v_t, kept(t.size, ratio)), masking=masking)
        sent, us, vs = [*sent, message], [*us, u_t], [*vs, v_t]
    return sent, us, vs


def run_round(
    state: State,
    cohort: Sequence[int],
    deltas: dict[int, list[np.ndarray]],
    *,
    ratio: float,
    momentum: float,
    lr: float = 1.0,
    masking: bool = True,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    counts: Sequence[float] | None = None,
) -> tuple[State, dict[int, list[np.ndarray]]]:
    """The state after a round, and what each client of the cohort sent, one vector a tensor.

    Args:
        state: Of `init`.
        cohort: Ids.
        deltas: y_k - x, in the shapes of x.
        ratio: Of this round, warm-up counted in.
        momentum: m.
        lr: The server's step size.
        masking: Whether u is zeroed where v was sent.
        nesterov: The other form of accumulation.
        weight_decay: wd, of decay = m decay + wd x: the server's alone; with Nesterov the step is m decay + wd x anew.
        counts: n_k; unweighted by default.
    """
    x, us, vs, p = state["x"], list(state["u"]), list(state["v"]), shares(cohort, counts)
    options = {"ratio": ratio, "momentum": momentum, "masking": masking, "nesterov": nesterov}
    sent: dict[int, list[np.ndarray]] = {}
    for k in cohort:
        sent[k], us[k], vs[k] = send([-delta for delta in deltas[k]], us[k], vs[k], **options)
    new_x, new_m, new_decay = [], [], []
    for i, t in enumerate(x):
        step, m = np.sum([p[k] * sent[k][i] for k in cohort], axis=0), state["m"][i]
        if is_dense(t, ratio):
            step, m = dense(m, step, momentum, nesterov=nesterov)
        shrink = weight_decay * t.ravel()
        decay = momentum * state["decay"][i] + shrink
        step = step + (shrink + momentum * decay if nesterov else decay)
        new_x, new_m, new_decay = [*new_x, t - lr * step.reshape(t.shape)], [*new_m, m], [*new_decay, decay]
    return {"x": new_x, "u": us, "v": vs, "m": new_m, "decay": new_decay}, sent


def upload_bytes(shapes: Sequence[tuple[int, ...]], ratio: float, b: int = 4, index: int = 4) -> int:
    """Values and indices of compressed tensors, values alone of the others."""
    tensors = [np.zeros(shape) for shape in shapes]
    return sum(t.size * b if is_dense(t, ratio) else kept(t.size, ratio) * (b + index) for t in tensors)
