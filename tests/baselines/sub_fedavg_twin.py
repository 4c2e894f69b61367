"""Sub-FedAvg, unstructured, from [DIS]/[SG] ``subavg``; the original is [SUB]. State: {server, masks}, masks by client.

    client k in S:  y = server * m_k;  E epochs of SGD: gradient * m_k, clip, weight decay, step
                    m1, m2 = m_k pruned by the percentile of |y| after epoch 1 and after the last one, per tensor
                    if mean over tensors of Hamming(m1, m2) > 1e-4 and density > target
                       and accuracy of y * m2 on the local training data > 0.5:    y *= m2, next mask = m2
    server:         per coordinate (sum_S y_k) / (sum_S m_k), with the masks of the round's START; no holder: unchanged
    measured:       server * m_k

The official code takes Hamming distance and density over all tensors, biases included, and uploads the pruned y with
the old mask in the denominator: zeros of what was just pruned count. ``upload_pruned=False`` is the other reading.
[SUB] itself: percent 10, target 0.3, accuracy on local test data, m2 at epoch 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.baselines.personal_twin import (
    Accuracy,
    Gradient,
    Masks,
    Params,
    below_percentile,
    dense,
    density,
    masked,
    mean_of_holders,
    sgd,
)


def initial(start: Params, clients: int) -> dict:
    return {"server": start, "masks": [dense(start) for _ in range(clients)]}


def pruned(params: Params, masks: Masks, prunable: Sequence[bool], percent: float) -> Masks:
    return [
        below_percentile(p, m, percent) if may else m
        for p, m, may in zip(params, masks, prunable, strict=True)
    ]


def distance(a: Masks, b: Masks) -> float:
    """The mean over tensors of the share of entries that differ."""
    return float(np.mean([np.mean(x != y) for x, y in zip(a, b, strict=True)]))


def personal(state: dict, client: int) -> Params:
    return masked(state["server"], state["masks"][client])


def sub_fedavg_round(
    state: dict,
    cohort: Sequence[int],
    *,
    grad: Gradient,
    accuracy: Accuracy,
    prunable: Sequence[bool],
    epochs: int,
    steps_per_epoch: int,
    lr: float,
    percent: float = 5.0,
    target: float = 0.5,
    least_distance: float = 1e-4,
    least_accuracy: float = 0.5,
    momentum: float = 0.0,
    decay: float = 0.0,
    clip: float = math.inf,
    upload_pruned: bool = True,
) -> tuple[dict, list[Params]]:
    """One round; returns the state and the cohort's uploads."""
    uploads, old, masks = [], [state["masks"][k] for k in cohort], list(state["masks"])
    for k in cohort:
        mask = state["masks"][k]

        def gradient(params: Params, step: int, k: int = k) -> Params:
            return grad(k, params, step)

        def under(gradients: Params, params: Params, mask: Masks = mask) -> Params:
            del params
            return masked(gradients, mask)

        trail: list[Params] = []

        def record(params: Params, trail: list[Params] = trail) -> Params:
            trail.append(params)
            return params

        steps = range(epochs * steps_per_epoch)
        y = sgd(
            gradient,
            personal(state, k),
            steps,
            lr,
            before=under,
            after=record,
            momentum=momentum,
            decay=decay,
            clip=clip,
        )
        m1, m2 = (pruned(w, mask, prunable, percent) for w in (trail[steps_per_epoch - 1], y))
        if (
            distance(m1, m2) > least_distance
            and density(mask) > target
            and accuracy(k, masked(y, m2)) > least_accuracy
        ):
            masks[k] = m2
            y = masked(y, m2) if upload_pruned else y
        uploads.append(y)
    return {"server": mean_of_holders(uploads, old, state["server"]), "masks": masks}, uploads
