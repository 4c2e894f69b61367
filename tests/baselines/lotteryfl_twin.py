"""LotteryFL, from [LOT] ``charleslipku/LotteryFL``. State: {server, start, masks, rates}, masks and rates by client.

client k in S:  y = server * m_k                              # biases as they are
                if accuracy(y) > acc0 and r_k > r_end:        # official: on the client's TEST data
                    per weight tensor, m_k loses what is below the p-th percentile of alive |y|;
                    r_k *= 1 - p / 100;  y = start * m_k      # rewind, biases too
                SGD with momentum 0.5, the gradient of a weight 0 where |w| < 1e-6;  up y and m_k
server:         weights: sum_S y_k / sum_S m_k, unchanged without a holder;  biases: plain mean over S
bytes:          r_k d b + d / 8 nominally; measured here: 4 nnz(m_k) + ceil(d / 8)
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
    masked,
    mean_of_holders,
    sgd,
)

FROZEN = 1e-6


def initial(start: Params, clients: int) -> dict:
    return {
        "server": start,
        "start": start,
        "masks": [dense(start) for _ in range(clients)],
        "rates": [1.0] * clients,
    }


def personal(state: dict, client: int) -> Params:
    return masked(state["server"], state["masks"][client])


def sent_bytes(masks: Masks) -> int:
    return 4 * sum(int(m.sum()) for m in masks) + math.ceil(sum(m.size for m in masks) / 8)


def lotteryfl_round(
    state: dict,
    cohort: Sequence[int],
    *,
    grad: Gradient,
    accuracy: Accuracy,
    prunable: Sequence[bool],
    steps: int,
    lr: float,
    percent: float = 20.0,
    least_accuracy: float = 0.2,
    end_rate: float = 0.5,
    momentum: float = 0.5,
    decay: float = 0.0,
    clip: float = math.inf,
) -> tuple[dict, list[Params]]:
    """One round; returns the state and the cohort's uploads."""
    uploads, masks, rates = [], list(state["masks"]), list(state["rates"])

    def frozen(gradients: Params, params: Params) -> Params:
        return [
            np.where(may & (np.abs(p) < FROZEN), 0.0, g)
            for g, p, may in zip(gradients, params, prunable, strict=True)
        ]

    for k in cohort:

        def gradient(params: Params, step: int, k: int = k) -> Params:
            return grad(k, params, step)

        y = personal(state, k)
        if accuracy(k, y) > least_accuracy and rates[k] > end_rate:
            masks[k] = [
                below_percentile(w, m, percent) if may else m
                for w, m, may in zip(y, masks[k], prunable, strict=True)
            ]
            rates[k] *= 1 - percent / 100
            y = masked(state["start"], masks[k])
        uploads.append(
            sgd(gradient, y, range(steps), lr, before=frozen, momentum=momentum, decay=decay, clip=clip)
        )
    server = mean_of_holders(uploads, [masks[k] for k in cohort], state["server"])
    return {"server": server, "start": state["start"], "masks": masks, "rates": rates}, uploads
