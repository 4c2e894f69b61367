"""FedSpa (personal masks, a fixed number of active weights), from [MEM] with the mask search of [LOCK] and DisPFL.

No official code and no paper text was read. State: {server, masks}, the server dense, masks by client.

    client k in S:  y = server * m_k;  masked SGD (gradient * m_k);  U_k = y - server * m_k
    server:         w += (1 / |S|) sum_S U_k        ``voters``: per coordinate sum_S U_k / sum_S m_k, 0 where no voter
    mask:           per layer: drop ceil(f(t) nnz_l) smallest |y|; regrow as many inactive ones by largest |g|,
                    g the dense gradient of one batch at the PRUNED model;  f(t) = alpha0 / 2 (1 + cos(pi t / T))
    measured:       server * m_k
    bytes:          4 nnz(m_k) each way, and ceil(d / 8) for a mask that changed
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.baselines.personal_twin import (
    Gradient,
    Masks,
    Params,
    Scores,
    changed,
    cosine,
    masked,
    mean,
    mean_of_holders,
    sgd,
    with_largest,
    without_smallest,
)


def initial(start: Params, masks: Sequence[Masks]) -> dict:
    return {"server": start, "masks": list(masks)}


def merged(server: Params, updates: Sequence[Params], masks: Sequence[Masks], voters: bool) -> Params:
    """The server's step."""
    zeros = [np.zeros_like(p) for p in server]
    step = mean_of_holders(updates, masks, zeros) if voters else mean(updates)
    return [w + u for w, u in zip(server, step, strict=True)]


def searched(y: Params, masks: Masks, client: int, share: float, scores: Scores) -> Masks:
    """The client's next masks."""
    counts = [changed(share, m) for m in masks]
    kept = [without_smallest(w, m, n) for w, m, n in zip(y, masks, counts, strict=True)]
    ranks = scores(client, masked(y, kept))
    return [with_largest(m, r, n) for m, r, n in zip(kept, ranks, counts, strict=True)]


def personal(state: dict, client: int) -> Params:
    return masked(state["server"], state["masks"][client])


def sent_bytes(masks: Masks, mask_changed: bool) -> int:
    """What one client sends, or gets, in one round."""
    places = sum(m.size for m in masks)
    return 4 * sum(int(m.sum()) for m in masks) + (math.ceil(places / 8) if mask_changed else 0)


def fedspa_round(
    state: dict,
    t: int,
    rounds: int,
    cohort: Sequence[int],
    *,
    grad: Gradient,
    scores: Scores,
    steps: int,
    lr: float,
    alpha0: float,
    voters: bool = False,
) -> dict:
    """One round; t counts from 0."""
    updates, masks = [], list(state["masks"])
    for k in cohort:
        mask = state["masks"][k]

        def gradient(params: Params, step: int, k: int = k, mask: Masks = mask) -> Params:
            return masked(grad(k, params, step), mask)

        first = personal(state, k)
        y = sgd(gradient, first, range(steps), lr)
        updates.append([a - b for a, b in zip(y, first, strict=True)])
        masks[k] = searched(y, mask, k, cosine(alpha0, t, rounds), scores)
    server = merged(state["server"], updates, [state["masks"][k] for k in cohort], voters)
    return {"server": server, "masks": masks}
