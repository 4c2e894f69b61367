"""SpaFL (only thresholds travel), from [SPAFL] ``news-vt/SpaFL_NeruIPS_2024``.

State: {tau, w, taus}. tau is one array of scalars per prunable leaf, in the order of those leaves: one scalar for each
filter or neuron, whose axis in the leaf is ``axis`` (0 in PyTorch, -1 in JAX). w and taus are lists by client.

    client k in S:  tau_k = tau;  SGD (momentum 0.9, a new optimiser, global-norm clip) jointly on w_k and tau_k of
                        loss(w * M) + coef * sum_r exp(-tau_r),   M_r = 1[mean_j |w_rj| - tau_r > 0]
                    the step's derivative is taken as 1, so with g = d loss / d (w * M) and s_r = sum_j g_rj w_rj
                        d / dw_rj = g_rj M_r + s_r sign(w_rj) / n_r,   d / dtau_r = -s_r - coef exp(-tau_r)
    server:         tau' = mean_S tau_k (plain);  D = tau' - tau
    ALL clients:    w_r -= D_r sign(sum_j w_rj) / kernel area;   dense layers: / in_features
    measured:       w_k * M(w_k, tau_k) of all clients, and the plain mean over layers of the density
    bytes:          4 * scalars each way for S, and D to all clients

``window`` says where s_r passes: always (FMNIST code), or only where |mean |w| - tau| > 1 (CIFAR code: INSIDE OUT).
``through_weights=False`` leaves out s_r sign(w) / n_r, the path through mean |w| that the official code has.
The official reset of a layer whose share of filters is at most 0.01 (its thresholds become 0) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.baselines.personal_twin import Gradient, Masks, Params, masked, mean, sgd

Window = Callable[[np.ndarray], np.ndarray]


def always(margin: np.ndarray) -> np.ndarray:
    return np.ones_like(margin)


def outside_one(margin: np.ndarray) -> np.ndarray:
    """The CIFAR code's window."""
    return (np.abs(margin) > 1).astype(float)


def leaves(prunable: Sequence[bool]) -> list[int]:
    return [leaf for leaf, may in enumerate(prunable) if may]


def rows(w: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)


def spread_out(values: np.ndarray, w: np.ndarray, axis: int) -> np.ndarray:
    """One value per filter, in the shape of its weights."""
    shape = [1] * w.ndim
    shape[axis] = -1
    return np.broadcast_to(values.reshape(shape), w.shape)


def margins(w: np.ndarray, tau: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(rows(w, axis)).mean(axis=1) - tau


def masks_of(params: Params, taus: Params, prunable: Sequence[bool], axis: int = 0) -> Masks:
    masks = [np.ones(p.shape, bool) for p in params]
    for leaf, tau in zip(leaves(prunable), taus, strict=True):
        masks[leaf] = spread_out(margins(params[leaf], tau, axis) > 0, params[leaf], axis)
    return masks


def layer_density(masks: Masks, prunable: Sequence[bool]) -> float:
    return float(np.mean([masks[leaf].mean() for leaf in leaves(prunable)]))


def coefficient(coef: float, t: float, scheduler: float) -> float:
    """The FMNIST and CIFAR-100 codes' warm-up of the penalty."""
    return coef / (1 + math.exp(5 - 10 * t / scheduler))


def joint_gradient(
    params: Params,
    taus: Params,
    prunable: Sequence[bool],
    gradient: Callable[[Params], Params],
    *,
    coef: float,
    axis: int = 0,
    window: Window = always,
    through_weights: bool = True,
) -> tuple[Params, Params]:
    """The gradients of w and tau; ``gradient`` is that of the loss at masked weights."""
    masks = masks_of(params, taus, prunable, axis)
    outer = gradient(masked(params, masks))
    of_weights, of_taus = masked(outer, masks), []
    for leaf, tau in zip(leaves(prunable), taus, strict=True):
        w = params[leaf]
        passed = (rows(outer[leaf], axis) * rows(w, axis)).sum(axis=1) * window(margins(w, tau, axis))
        of_taus.append(-passed - coef * np.exp(-tau))
        if through_weights:
            of_weights[leaf] = of_weights[leaf] + spread_out(
                passed / rows(w, axis).shape[1], w, axis
            ) * np.sign(w)
    return of_weights, of_taus


def area(shape: tuple[int, ...], axis: int) -> int:
    """Kernel area of a convolution; in_features of a dense layer."""
    if len(shape) == 2:
        return shape[1] if axis == 0 else shape[0]
    return math.prod(shape[2:] if axis == 0 else shape[:-2])


def shifted(params: Params, difference: Params, prunable: Sequence[bool], axis: int = 0) -> Params:
    """Every client's answer to the thresholds' change."""
    new = list(params)
    for leaf, d in zip(leaves(prunable), difference, strict=True):
        w = params[leaf]
        direction = np.sign(rows(w, axis).sum(axis=1))
        new[leaf] = w - spread_out(d * direction, w, axis) / area(w.shape, axis)
    return new


def initial(start: Params, clients: int, prunable: Sequence[bool], axis: int = 0) -> dict:
    tau = [np.zeros(start[leaf].shape[axis]) for leaf in leaves(prunable)]
    return {"tau": tau, "w": [start for _ in range(clients)], "taus": [tau for _ in range(clients)]}


def personal(state: dict, client: int, prunable: Sequence[bool], axis: int = 0) -> Params:
    w = state["w"][client]
    return masked(w, masks_of(w, state["taus"][client], prunable, axis))


def spafl_round(
    state: dict,
    cohort: Sequence[int],
    *,
    grad: Gradient,
    prunable: Sequence[bool],
    steps: int,
    lr: float,
    coef: float,
    momentum: float = 0.9,
    decay: float = 0.0,
    clip: float = math.inf,
    axis: int = 0,
    window: Window = always,
    through_weights: bool = True,
    update: bool = True,
    train_taus: bool = True,
) -> dict:
    """One round. ``update=False`` leaves out the clients' answer, ``train_taus=False`` keeps the thresholds."""
    w, taus = list(state["w"]), list(state["taus"])
    for k in cohort:
        size = len(w[k])

        def gradient(joint: Params, step: int, k: int = k, size: int = size) -> Params:
            of_weights, of_taus = joint_gradient(
                joint[:size],
                joint[size:],
                prunable,
                lambda masked_params: grad(k, masked_params, step),
                coef=coef,
                axis=axis,
                window=window,
                through_weights=through_weights,
            )
            return of_weights + (of_taus if train_taus else [np.zeros_like(g) for g in of_taus])

        joint = sgd(
            gradient, [*w[k], *state["tau"]], range(steps), lr, momentum=momentum, decay=decay, clip=clip
        )
        w[k], taus[k] = joint[:size], joint[size:]
    tau = mean([taus[k] for k in cohort])
    if update:
        difference = [new - old for new, old in zip(tau, state["tau"], strict=True)]
        w = [shifted(params, difference, prunable, axis) for params in w]
    return {"tau": tau, "w": w, "taus": taus}
