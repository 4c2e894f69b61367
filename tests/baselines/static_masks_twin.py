"""Static masks at initialisation, random or by magnitude, uniform, ER or ERK, in NumPy float64. Slow on purpose.

ERK with dense layers [RIGL `sparse_utils.py`], sparsity s, layer sizes n_l:

    raw_l = sum(shape_l) / prod(shape_l)     (ER: (in + out) / (in out));  D = {}
    repeat  z_l = floor(s n_l);  eps = (sum_{not D} (n_l - z_l) - sum_D z_l) / sum_{not D} raw_l n_l
            if eps max raw > 1: all layers that attain the maximum join D; else stop
    density_l = 1 in D, else eps raw_l;   kept_l = n_l - floor((1 - density_l) n_l)

[FP `init_scheme.py`] takes int(n d) in both places and first lowers the target to
(int(target all) - ignored) / (all - ignored); [DIS] takes real numbers and lets 1-D tensors take part.
Training [rivals 3.3]: w0 masked, masked SGD, mean; the mask never moves. Up and down nnz scalars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.baselines.twin_steps import Leaves, Masks, largest, masked, ones

Shape = tuple[int, ...]


def raw_density(shape: Shape, kind: str = "erk") -> float:
    """Shapes end with (in, out), kernel sizes before; uniform layers have raw density 1."""
    if kind == "uniform":
        return 1.0
    dims = shape if kind == "erk" else shape[-2:]
    return sum(dims) / math.prod(dims)


def zeros(size: int, density: float, counts: str) -> float:
    """How many entries a density takes away: floor((1 - d) n), n - int(n d), or (1 - d) n."""
    if counts == "floor":
        return math.floor((1 - density) * size)
    return size - int(size * density) if counts == "int" else (1 - density) * size


def densities(
    shapes: Sequence[Shape], density: float, kind: str = "erk", counts: str = "floor"
) -> tuple[list[float], list[float]]:
    """Density of every layer and the eps of every pass.

    Args:
        shapes: Shapes of the prunable layers.
        density: Share kept of all of them, 0 < density <= 1.
        kind: "erk", "er" or "uniform".
        counts: "floor" [RIGL], "int" [FP] or "real" [DIS].
    """
    raw = [raw_density(s, kind) for s in shapes]
    sizes = [math.prod(s) for s in shapes]
    full: set[int] = set()
    passes = []
    while len(full) < len(shapes):
        free = [i for i in range(len(shapes)) if i not in full]
        budget = sum(sizes[i] - zeros(sizes[i], density, counts) for i in free)
        budget -= sum(zeros(sizes[i], density, counts) for i in full)
        eps = budget / sum(raw[i] * sizes[i] for i in free)
        passes.append(eps)
        top = max(raw[i] for i in free)
        if eps * top <= 1:
            return [1.0 if i in full else eps * raw[i] for i in range(len(shapes))], passes
        full |= {i for i in free if raw[i] == top}
    return [1.0] * len(shapes), passes


def kept_counts(
    shapes: Sequence[Shape], layer_densities: Sequence[float], counts: str = "floor"
) -> list[int]:
    sizes = [math.prod(s) for s in shapes]
    return [int(n - zeros(n, d, counts)) for n, d in zip(sizes, layer_densities, strict=True)]


def lowered(target: float, total: int, ignored: int) -> float:
    """Density of the prunable tensors so that the whole model, its ignored tensors dense, has the target [FP]."""
    return (int(target * total) - ignored) / (total - ignored)


def masks(scores: Leaves, prunable: Sequence[bool], counts: Sequence[int]) -> Masks:
    """The highest scores of every prunable leaf: uniform numbers for random masks, |w0| for masks by magnitude."""
    left = iter(counts)
    return [largest(s, next(left)) if may else ones(s) for s, may in zip(scores, prunable, strict=True)]


def start(
    params: Leaves, scores: Leaves, prunable: Sequence[bool], density: float, kind: str
) -> tuple[Leaves, Masks]:
    """Masked initial model and its mask; rounds are `twin_steps.masked_fedavg`."""
    shapes = [w.shape for w, may in zip(params, prunable, strict=True) if may]
    layer_densities, _ = densities(shapes, density, kind)
    chosen = masks(scores, prunable, kept_counts(shapes, layer_densities))
    return masked(params, chosen), chosen


def non_zeros(params: Leaves) -> int:
    """Scalars sent each way."""
    return int(sum(np.count_nonzero(w) for w in params))
