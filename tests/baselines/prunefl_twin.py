"""PruneFL, both stages, in NumPy float64. Slow on purpose.

Reconfiguration [PFL `control/algorithm.py`], squared gradients G, times t_l = computation + communication, rate rho:

    per layer    limit = |w| number int(rho n_active) from below among active weights; |w| >= limit stays
    candidates   active weights below the limit and all inactive ones
    D = sum of G over what stays, leaves that are not prunable and biases;  T = constant + sum_l t_l (number that stays)
    repeat       the best candidate by G / t_l over all layers: if it exceeds D / T (and a density cap has room), it
                 enters, D += G, T += t_l; else stop

    rho_r = 0.3 * 0.5^(r / 10000)

Stage 1 (one client): rounds over its batches, G += g^2 of every batch; reconfigurations at rate 0.3 every 50 rounds
once the training accuracy reaches 1.5 / classes; ends when the density moved by at most 10 % five times in a row.
Stage 2: local plain SGD, G += sum_k n_k (sum of the round's local gradients)^2 since the last reconfiguration;
w += sum_k p_k (w_k - w m): the server's weights outside the mask keep their last value [PFL `adaptive.py`].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tests.baselines.twin_steps import Grad, Leaves, Masks, kept, masked, pool_size


class Server(NamedTuple):
    """Weights (also outside the mask), masks and squared gradients summed since the last reconfiguration."""

    params: Leaves
    masks: Masks
    squared: Leaves


def rate(r: int, initial: float = 0.3, half_life: float = 10000) -> float:
    return initial * 0.5 ** (r / half_life)


def stays(weight: np.ndarray, mask: np.ndarray, rho: float) -> np.ndarray:
    """Active weights that are kept whatever their gradient; ties at the limit are kept."""
    magnitudes = np.sort(np.abs(weight[mask]))
    if not len(magnitudes):
        return mask
    return mask & (np.abs(weight) >= magnitudes[int(rho * len(magnitudes))])


def greedy(
    gains: Sequence[float], times: Sequence[float], gain: float, time: float, room: float = float("inf")
) -> list[int]:
    """Indices of the candidates that enter, by gain / time, as long as they raise (sum of gains) / (sum of times)."""
    order = sorted(range(len(gains)), key=lambda i: -gains[i] / times[i])
    entered: list[int] = []
    for i in order:
        if not gains[i] / times[i] > gain / time or len(entered) >= room:
            break
        entered.append(i)
        gain, time = gain + gains[i], time + times[i]
    return entered


def reconfigure(
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    squared: Leaves,
    times: Sequence[float],
    constant: float,
    rho: float,
    max_density: float | None = None,
) -> Masks:
    """The next masks. `times`: one per leaf, used of prunable ones; `constant`: time of a round without weights."""
    after = [stays(w, m, rho) if may else m for w, m, may in zip(params, masks, prunable, strict=True)]
    gain = sum(float(g[m].sum()) for g, m in zip(squared, after, strict=True))
    time = constant + sum(t * int(m.sum()) for t, m, may in zip(times, after, prunable, strict=True) if may)
    room = float("inf")
    if max_density is not None:
        room = max(0, int(max_density * pool_size(params, prunable)) - sum(kept(after, prunable)))
    places = [
        (leaf, int(i)) for leaf, may in enumerate(prunable) if may for i in np.flatnonzero(~after[leaf])
    ]  # fmt: skip
    gains = [float(squared[leaf].ravel()[i]) for leaf, i in places]
    after = [m.copy() for m in after]
    for chosen in greedy(gains, [times[leaf] for leaf, _ in places], gain, time, room):
        leaf, i = places[chosen]
        after[leaf].ravel()[i] = True
    return after


def density(masks: Masks, prunable: Sequence[bool]) -> float:
    return sum(kept(masks, prunable)) / pool_size(masks, prunable)


def settled(densities: Sequence[float], within: float = 0.1, times: int = 5) -> bool:
    """Whether each of the last `times` reconfigurations moved the density by at most `within` of the one before."""
    moves = [abs(now / before - 1) <= within for before, now in pairwise(densities)]
    return len(moves) >= times and all(moves[-times:])


def first_stage(
    grad: Grad,
    client: int,
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    accuracy: Callable[[Leaves], float],
    times: Sequence[float],
    constant: float,
    *,
    batches: int,
    classes: int,
    lr: float,
    max_rounds: int = 1000,
    every: int = 50,
    evaluate_every: int = 1,
    rho: float = 0.3,
) -> tuple[Leaves, Masks, int]:
    """(model, masks, rounds trained). A round is one pass over `batches` batches, steps 0..batches-1 of `grad`."""
    params, squared = masked(params, masks), [np.zeros_like(w) for w in params]
    began, densities = None, []
    for r in range(1, max_rounds + 1):
        if began is None and (r - 1) % evaluate_every == 0 and accuracy(params) >= 1.5 / classes:
            began = r
        for batch in range(batches):
            gradient = grad(client, params, batch)
            squared = [s + g**2 for s, g in zip(squared, gradient, strict=True)]
            params = masked([w - lr * g for w, g in zip(params, gradient, strict=True)], masks)
        if began is not None and (r - began) % every == 0:
            masks = reconfigure(params, masks, prunable, squared, times, constant, rho)
            params, squared = masked(params, masks), [np.zeros_like(w) for w in params]
            densities.append(density(masks, prunable))
            if settled(densities):
                return params, masks, r
    return params, masks, max_rounds


def local(
    grad: Grad, client: int, params: Leaves, masks: Masks, steps: Sequence[int], lr: float
) -> tuple[Leaves, Leaves]:
    """(model, sum of dense gradients) of plain SGD under the mask."""
    params, summed = masked(params, masks), [np.zeros_like(w) for w in params]
    for step in steps:
        gradient = grad(client, params, step)
        summed = [s + g for s, g in zip(summed, gradient, strict=True)]
        params = masked([w - lr * g for w, g in zip(params, gradient, strict=True)], masks)
    return params, summed


def federated_round(
    grad: Grad,
    server: Server,
    prunable: Sequence[bool],
    cohort: Sequence[int],
    samples: Sequence[float],
    steps: Sequence[int],
    r: int,
    *,
    lr: float,
    times: Sequence[float],
    constant: float,
    reconfigures: bool,
    max_density: float | None = None,
    remember: bool = True,
) -> Server:
    """A round of stage 2 with the reconfiguration at its end.

    `remember`: a weight that enters again has its last value (code); False lets it start at 0.
    """
    sent = [local(grad, c, server.params, server.masks, steps, lr) for c in cohort]
    before, total = masked(server.params, server.masks), float(sum(samples))
    params, squared = server.params if remember else before, server.squared
    for (model, summed), n in zip(sent, samples, strict=True):
        params = [w + n / total * (k - b) for w, k, b in zip(params, model, before, strict=True)]
        squared = [s + n * g**2 for s, g in zip(squared, summed, strict=True)]
    if not reconfigures:
        return Server(params, server.masks, squared)
    masks = reconfigure(params, server.masks, prunable, squared, times, constant, rate(r), max_density)
    params = params if remember else masked(params, masks)
    return Server(params, masks, [np.zeros_like(w) for w in params])
