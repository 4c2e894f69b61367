"""DisPFL (decentralised, personal masks), from [DIS] ``rong-dai/DisPFL``. State: {w, shared, mask}, lists by client.

    masks   ERK over all tensors: density_l = eps sum(shape_l) / prod(shape_l), real-valued counts;
            the layers of largest density become dense while that is above 1; int(density_l n_l) entries are kept
    round r, every active client k, from what all had at the end of round r - 1:
            w   = (sum_j w_j) / (sum_j shared_j) over neighbours j and k itself, 0 / 0 = 0;   w *= mask_k
            shared_k = mask_k                                        # uploaded with w_k: the mask before its update
            steps of SGD: gradient, clip its global norm, weight decay, step, w *= mask_k
            per layer: drop ceil(rho_r nnz_l) smallest |w|, regrow as many zeros: uniformly, or by largest |gradient|
            rho_r = rho / 2 (1 + cos(pi r / R)),  lr_r = 0.1 * 0.998^r

Personal models before and after local training are what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tests.baselines.personal_twin import (
    Gradient,
    Masks,
    Params,
    Scores,
    changed,
    cosine,
    masked,
    mean_of_holders,
    sgd,
    with_largest,
    without_smallest,
)


def erk(shapes: Sequence[tuple[int, ...]], target: float) -> list[float]:
    """The density of every layer."""
    raw = [sum(shape) / math.prod(shape) for shape in shapes]
    sizes = [math.prod(shape) for shape in shapes]
    whole: set[int] = set()
    while len(whole) < len(shapes):
        sparse = [layer for layer in range(len(shapes)) if layer not in whole]
        wanted = target * sum(sizes) - sum(sizes[layer] for layer in whole)
        eps = wanted / sum(raw[layer] * sizes[layer] for layer in sparse)
        top = max(raw[layer] for layer in sparse)
        if eps * top <= 1:
            return [1.0 if layer in whole else eps * raw[layer] for layer in range(len(shapes))]
        whole |= {layer for layer in sparse if raw[layer] == top}
    return [1.0] * len(shapes)


def random_masks(draws: Params, densities: Sequence[float]) -> Masks:
    """Masks that keep the int(density n) entries of largest draw of each tensor; the draws are uniform numbers.

    The product is rounded first, or a density a hair below 1 would lose an entry.
    """
    return [
        with_largest(np.zeros(d.shape, bool), d, int(round(density * d.size, 6)))
        for d, density in zip(draws, densities, strict=True)
    ]


def initial(start: Params, masks: Sequence[Masks]) -> dict:
    return {"w": [masked(start, m) for m in masks], "shared": list(masks), "mask": list(masks)}


def received(state: dict, client: int, neighbours: Sequence[int]) -> Params:
    """The mean over the neighbours and the client itself, under the client's own mask."""
    voices = sorted({*neighbours, client})
    zeros = [np.zeros_like(p) for p in state["w"][client]]
    average = mean_of_holders([state["w"][j] for j in voices], [state["shared"][j] for j in voices], zeros)
    return masked(average, state["mask"][client])


def dispfl_round(
    state: dict,
    t: int,
    rounds: int,
    neighbours: Mapping[int, Sequence[int]],
    *,
    grad: Gradient,
    scores: Scores,
    steps: int,
    lr: float,
    rho: float = 0.5,
    decay: float = 0.0,
    clip: float = math.inf,
) -> tuple[dict, dict[int, Params]]:
    """One round.

    Args:
        state: What ``initial`` or the last round gave.
        t: Round, from 0.
        rounds: R of the cosine.
        neighbours: The active clients and whom each of them hears.
        grad: Local gradients.
        scores: Of the trained model, before anything is dropped.
        steps: Local steps.
        lr: Learning rate of this round.
        rho: Share that changes in round 0 (0.5 in the official scripts).
        decay: Weight decay.
        clip: Largest global norm of the unmasked gradient.

    Returns:
        The state, and the active clients' models before local training.
    """
    new = {name: list(values) for name, values in state.items()}
    before = {k: received(state, k, heard) for k, heard in neighbours.items()}
    for k, model in before.items():
        mask = state["mask"][k]

        def gradient(params: Params, step: int, k: int = k) -> Params:
            return grad(k, params, step)

        def again(params: Params, mask: Masks = mask) -> Params:
            return masked(params, mask)

        w = sgd(gradient, model, range(steps), lr, after=again, decay=decay, clip=clip)
        ranks = scores(k, w)
        new["w"][k], new["shared"][k], new["mask"][k] = w, mask, []
        for leaf, m in enumerate(mask):
            count = changed(cosine(rho, t, rounds), m)
            new["mask"][k].append(with_largest(without_smallest(w[leaf], m, count), ranks[leaf], count))
    return new, before
