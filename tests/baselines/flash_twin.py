"""FLASH, original (SPDST, JMWST) and as SparsyFed compares with it, in NumPy float64. Slow on purpose.

Original [FLASH], density d, prunable leaves the convolutions:

    stage 1      random mask of density d; some clients train E epochs from the initial model with prune-and-grow at the
                 end of every epoch but the last: per layer remove ceil(rate n_active) smallest |w|; grow the number
                 removed, shared in proportion to mean |w| of the layers' active weights (before removal), at random;
                 rate = 0.25 (1 - steps taken / all steps)
    sensitivity  d_l = mean over clients of the density trained, times d N / sum d_l n_l, at most 1
    SPDST        RANDOM mask of those densities, model RE-INITIALISED, FedAvg under that fixed mask, unweighted
    JMWST        clients start from the server's mask and prune and grow once at mid epoch; every r_int rounds the
                 server takes per layer the int(mean count * min(1, d N / sum of counts)) largest |w| of the mean

Comparison version [CODE `fedavgFLASH.py`, `get_fixed_train_and_prune`], sparsity s:

    round 1      gradients masked by (parameter != 0), all leaves; global prune to s; the server averages every array's
                 density over the clients and the weights by samples, and keeps per array the int(size * density)
                 largest of the mean: trained weights stay. No rescale.
    later        fixed mask (parameter != 0), global prune to s after training, FedAvg
    A leaf that starts at exactly 0 (BatchNorm shifts, biases) so stays 0 for ever; `fair` masks prunable leaves only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.baselines.twin_steps import (
    Grad,
    Leaves,
    Masks,
    global_prune,
    kept,
    largest,
    masked,
    masked_fedavg,
    ones,
    pool_size,
    sgd,
    smallest,
    weighted_mean,
)


def learning_rate(r: int, start: float = 0.1, end: float = 0.001, horizon: int = 1000) -> float:
    """The horizon is 1000 whatever the number of rounds."""
    return start * math.exp(r / horizon * math.log(end / start))


def prune_rate(steps: int, total: int, rate: float = 0.25) -> float:
    return rate * (1 - steps / total)


def shares_exact(shares: Sequence[float], total: int, caps: Sequence[int]) -> list[int]:
    """`total` entries given one by one to the layer furthest below its share that has room: largest remainders."""
    given = [0] * len(shares)
    for _ in range(min(total, sum(caps))):
        below = [s - g if g < c else -math.inf for s, g, c in zip(shares, given, caps, strict=True)]
        given[int(np.argmax(below))] += 1
    return given


def shares_official(shares: Sequence[float], total: int, caps: Sequence[int]) -> list[int]:
    """As the code: ceil of every share, at most 0.99 of the room; what does not fit is spread evenly; floor.

    The total may exceed the number removed by one per layer.
    """
    del total
    given: list[float] = [math.ceil(s) for s in shares]
    spread = 0.0
    for _ in range(1000):
        over = 0.0
        for i, cap in enumerate(caps):
            wanted = given[i] + spread
            given[i] = min(wanted, 0.99 * cap)
            over += wanted - given[i]
        if over <= 0:
            break
        spread = over / len(given)
    return [math.floor(g) for g in given]


def prune_and_grow(
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    rate: float,
    scores: Leaves,
    share: Callable[[Sequence[float], int, Sequence[int]], list[int]] = shares_exact,
) -> tuple[Leaves, Masks]:
    """Remove by magnitude per layer, grow where uniform `scores` of inactive entries are highest.

    The just removed may grow again and then keep their value; other new weights are 0.
    """
    layers = [i for i, may in enumerate(prunable) if may]
    mean = {i: float(np.abs(params[i][masks[i]]).mean()) if masks[i].any() else 0.0 for i in layers}
    after, removed = list(masks), 0
    for i in layers:
        gone = smallest(np.abs(params[i]), math.ceil(rate * int(masks[i].sum())), masks[i])
        after[i] = masks[i] & ~gone
        removed += int(gone.sum())
    total = sum(mean.values())
    wanted = [removed * (mean[i] / total if total > 0 else 1 / len(layers)) for i in layers]
    numbers = share(wanted, removed, [int((~after[i]).sum()) for i in layers])
    for i, number in zip(layers, numbers, strict=True):
        after[i] = after[i] | largest(scores[i], number, ~after[i])
    stays = [a & m for a, m in zip(after, masks, strict=True)]
    return masked(params, stays), after


def random_masks(
    scores: Leaves, prunable: Sequence[bool], densities: Sequence[float], bernoulli: bool = False
) -> Masks:
    """Entries whose uniform score is among the int(d n) lowest of the layer, or, as the code does, below d."""
    left, masks = iter(densities), []
    for s, may in zip(scores, prunable, strict=True):
        d = next(left) if may else 1.0
        if may:
            masks.append(s < d if bernoulli else smallest(s, int(d * s.size)))
        else:
            masks.append(ones(s))
    return masks


def stage_one_client(
    grad: Grad,
    client: int,
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    epochs: int,
    steps_per_epoch: int,
    scores: Sequence[Leaves],
    lr: float,
    rate: float = 0.25,
    share: Callable[[Sequence[float], int, Sequence[int]], list[int]] = shares_exact,
) -> tuple[Leaves, Masks]:
    """Train with prune-and-grow after every epoch but the last; `scores[e]` are uniform numbers for the e-th one."""
    total, params = epochs * steps_per_epoch, masked(params, masks)
    for epoch in range(epochs):
        steps = range(epoch * steps_per_epoch, (epoch + 1) * steps_per_epoch)
        params = sgd(grad, client, params, masks, steps, lr)
        if epoch < epochs - 1:
            now = prune_rate(steps.stop, total, rate)
            params, masks = prune_and_grow(params, masks, prunable, now, scores[epoch], share)
    return params, masks


def mean_densities(masks: Sequence[Masks], prunable: Sequence[bool]) -> list[float]:
    layers = [i for i, may in enumerate(prunable) if may]
    return [float(np.mean([m[i].mean() for m in masks])) for i in layers]


def rescale(
    densities: Sequence[float], sizes: Sequence[int], target: float, refill: bool = False
) -> list[float]:
    """Densities in proportion, their weighted mean the target, at most 1.

    What the cap takes away is lost, as in the code, or with `refill` shared by the other layers.
    """
    full: set[int] = set()
    while True:
        free = [i for i in range(len(sizes)) if i not in full]
        budget = target * sum(sizes) - sum(sizes[i] for i in full)
        ratio = budget / sum(densities[i] * sizes[i] for i in free) if free else 0.0
        over = {i for i in free if densities[i] * ratio > 1}
        full |= over
        if not over or not refill:
            return [1.0 if i in full else densities[i] * ratio for i in range(len(sizes))]


def spdst_start(
    grad: Grad,
    init: Leaves,
    prunable: Sequence[bool],
    density: float,
    clients: Sequence[int],
    *,
    first: Leaves,
    growth: Callable[[int], Sequence[Leaves]],
    server: Leaves,
    epochs: int,
    steps_per_epoch: int,
    lr: float,
    reinit: Leaves | None = None,
    bernoulli: bool = False,
    refill: bool = False,
    share: Callable[[Sequence[float], int, Sequence[int]], list[int]] = shares_exact,
) -> tuple[Leaves, Masks]:
    """Stage 1 and the server's random mask on the model re-initialised (the initial draw where `reinit` is None).

    Args:
        grad: Gradients.
        init: Initial model.
        prunable: Leaves with masks.
        density: d.
        clients: Who trains in stage 1.
        first: Uniform scores of the first mask.
        growth: client -> uniform scores of each of its prune-and-grows.
        server: Uniform scores of the server's mask.
        epochs: Local epochs of stage 1.
        steps_per_epoch: Steps.
        lr: Learning rate.
        reinit: Model after re-initialisation.
        bernoulli: See `random_masks`.
        refill: See `rescale`.
        share: How the number to grow is shared among layers.
    """
    layers = [w.size for w, may in zip(init, prunable, strict=True) if may]
    start = random_masks(first, prunable, [density] * len(layers), bernoulli)
    trained = [
        stage_one_client(grad, c, init, start, prunable, epochs, steps_per_epoch, growth(c), lr, share=share)[
            1
        ]
        for c in clients
    ]
    densities = rescale(mean_densities(trained, prunable), layers, density, refill)
    masks = random_masks(server, prunable, densities, bernoulli)
    return masked(init if reinit is None else reinit, masks), masks


def spdst_round(
    grad: Grad, params: Leaves, masks: Masks, cohort: Sequence[int], steps: Sequence[int], lr: float
) -> Leaves:
    return masked_fedavg(grad, params, masks, cohort, [1.0] * len(cohort), steps, lr)


def holders_mean(models: Sequence[Leaves], masks: Sequence[Masks]) -> Leaves:
    """Option of the code: divide by the number of clients that hold a weight; 0 where none does."""
    holders = [np.sum([m[i] for m in masks], axis=0) for i in range(len(models[0]))]
    return [
        np.sum([w[i] for w in models], axis=0) / np.where(n > 0, n, 1) for i, n in enumerate(holders)
    ]  # fmt: skip


def jmwst_client(
    grad: Grad,
    client: int,
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    steps: Sequence[int],
    scores: Leaves,
    lr: float,
    rate: float = 0.25,
    share: Callable[[Sequence[float], int, Sequence[int]], list[int]] = shares_exact,
) -> tuple[Leaves, Masks]:
    """One epoch with one prune-and-grow, after step number (number of steps) // 2 counted from 0."""
    middle = len(steps) // 2 + 1
    params = sgd(grad, client, params, masks, steps[:middle], lr)
    now = prune_rate(middle, len(steps), rate)
    params, masks = prune_and_grow(params, masks, prunable, now, scores, share)
    return sgd(grad, client, params, masks, steps[middle:], lr), masks


def jmwst_mask(mean: Leaves, counts: Sequence[float], prunable: Sequence[bool], density: float) -> Masks:
    """Per layer the int(count * min(1, d N / sum counts)) largest |w| of the mean model."""
    ratio = min(1.0, density * pool_size(mean, prunable) / sum(counts))
    left = iter(counts)
    return [
        largest(np.abs(w), int(next(left) * ratio)) if may else ones(w)
        for w, may in zip(mean, prunable, strict=True)
    ]


def jmwst_round(
    grad: Grad,
    params: Leaves,
    masks: Masks,
    prunable: Sequence[bool],
    cohort: Sequence[int],
    steps: Sequence[int],
    scores: Callable[[int], Leaves],
    r: int,
    *,
    lr: float,
    density: float,
    r_int: int = 1,
    source: str = "masks",
    share: Callable[[Sequence[float], int, Sequence[int]], list[int]] = shares_exact,
) -> tuple[Leaves, Masks]:
    """Round r = 0, 1, ...: with r mod r_int = 0 clients move their masks and the server its own, else both are fixed.

    The mean is over all clients, unmasked; the next round's clients mask it. `source` of the layers' counts: the
    clients' "masks" or the "mean" model's non-zeros.
    """
    if r % r_int:
        return masked_fedavg(grad, params, masks, cohort, [1.0] * len(cohort), steps, lr), masks
    sent = [jmwst_client(grad, c, params, masks, prunable, steps, scores(c), lr, share=share) for c in cohort]
    mean = weighted_mean([s[0] for s in sent], [1.0] * len(cohort))
    if source == "masks":
        layers = [w.size for w, may in zip(mean, prunable, strict=True) if may]
        densities = mean_densities([s[1] for s in sent], prunable)
        counts = [d * n for d, n in zip(densities, layers, strict=True)]
    else:
        counts = [float(k) for k in kept([w != 0 for w in mean], prunable)]
    return mean, jmwst_mask(mean, counts, prunable, density)


def support(params: Leaves, prunable: Sequence[bool], fair: bool) -> Masks:
    return [w != 0 if may or not fair else ones(w) for w, may in zip(params, prunable, strict=True)]


def comparison_local(
    grad: Grad,
    client: int,
    params: Leaves,
    prunable: Sequence[bool],
    steps: Sequence[int],
    lr: float,
    sparsity: float,
    fair: bool,
    weight_decay: float = 0.0,
) -> Leaves:
    trained = sgd(grad, client, params, support(params, prunable, fair), steps, lr, weight_decay=weight_decay)
    return global_prune(trained, prunable, sparsity)


def comparison_round(
    grad: Grad,
    params: Leaves,
    prunable: Sequence[bool],
    cohort: Sequence[int],
    weights: Sequence[float],
    steps: Sequence[int],
    *,
    first: bool,
    lr: float,
    sparsity: float,
    fair: bool = True,
    weight_decay: float = 0.0,
) -> Leaves:
    """FedAvg of pruned models; after the `first` round the server keeps the int(size * mean density) largest of each.

    `fair` leaves alone what may not be pruned; False is the code, which masks and cuts every array.
    """
    models = [
        comparison_local(grad, c, params, prunable, steps, lr, sparsity, fair, weight_decay) for c in cohort
    ]
    mean = weighted_mean(models, weights)
    if not first:
        return mean
    densities = [float(np.mean([(w[i] != 0).mean() for w in models])) for i in range(len(params))]
    masks = [
        ones(w) if fair and not may else largest(np.abs(w), int(w.size * d))
        for w, d, may in zip(mean, densities, prunable, strict=True)
    ]
    return masked(mean, masks)
