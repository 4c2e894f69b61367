"""How a sparsity is shared between layers: shapes -> how many entries each keeps. NumPy only.

Shapes come as an ordered mapping from names to shapes; a kernel's last two axes are inputs and outputs, those
before them are spatial. Counts come in the same order.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from fedjax_sparse import errors
from fedjax_sparse.sparsity.schedules import CountRule, floor_pruned, round_pruned

Shapes = Mapping[str, Sequence[int]]

# A layer's density times its size, up to a factor that all layers share.
SHARES: dict[str, Callable[[Sequence[int]], int]] = {
    "erk": sum,
    "er": lambda shape: sum(shape[-2:]) * prod(shape[:-2]),
    "uniform": prod,
}


def uniform(shapes: Shapes, sparsity: float, rule: CountRule = round_pruned) -> np.ndarray:
    """The same sparsity everywhere.

    Args:
        shapes: Name -> shape of each leaf that may be pruned.
        sparsity: Fraction of zeros, in [0, 1).
        rule: (total size, sparsity) -> total number kept.

    Returns:
        i32[L]; the sum is exactly what `rule` says of all entries together.
    """
    errors.check_range("sparsity", sparsity, 0, 1, high_open=True)
    sizes = _sizes(shapes)
    total = rule(int(sizes.sum()), sparsity)
    return _apportion(sizes * (total / max(sizes.sum(), 1)), sizes, total, shapes)


def erk(shapes: Shapes, sparsity: float, rule: CountRule = round_pruned) -> np.ndarray:
    """Erdős-Rényi-kernel: a layer's density is proportional to (sum of its dimensions) / (their product).

    Layers whose density would exceed 1 are dense, and the others share what is left, until none exceeds it:
    RigL (arXiv 1911.11134).

    Args:
        shapes: Name -> shape of each leaf that may be pruned.
        sparsity: Fraction of zeros over all of them, in [0, 1).
        rule: (total size, sparsity) -> total number kept.

    Returns:
        i32[L]; the sum is exactly what `rule` says of all entries together.

    Example:
        >>> print(erk({"narrow": (4, 4), "wide": (16, 16)}, 0.5))
        [ 16 120]
    """
    errors.check_range("sparsity", sparsity, 0, 1, high_open=True)
    sizes = _sizes(shapes)
    total = rule(int(sizes.sum()), sparsity)
    return _apportion(_in_proportion(SHARES["erk"], shapes, total), sizes, total, shapes)


def by_layer(
    shapes: Shapes, sparsity: float, kind: str = "erk", rule: CountRule = floor_pruned
) -> np.ndarray:
    """Uniform, Erdős-Rényi or ERK densities, each layer's count rounded for itself, as published codes count.

    The total to be shared is the sum of what `rule` says of every layer at the same sparsity.

    Args:
        shapes: Name -> shape of each leaf that may be pruned.
        sparsity: Fraction of zeros over all of them, in [0, 1).
        kind: One of `SHARES`: "erk" as `erk`; "er", which looks at inputs and outputs alone; "uniform".
        rule: (size, sparsity) -> number kept: `floor_pruned` in the code of RigL (arXiv 1911.11134), `floor_kept` in
            FedPruning, the code of FedTiny and FedRTS.

    Returns:
        i32[L]; the sum is within L of (1 - sparsity) of all.
    """
    errors.check_range("sparsity", sparsity, 0, 1, high_open=True)
    sizes = _sizes(shapes)
    targets = _in_proportion(SHARES[kind], shapes, sum(rule(int(size), sparsity) for size in sizes))
    kept = [rule(int(size), 1 - target / size) for size, target in zip(sizes, targets, strict=True)]
    return _none_empty(np.array(kept, np.int64), sizes, shapes)


def erk_whole_part(shapes: Shapes, sparsity: float) -> np.ndarray:
    """`erk` as DisPFL's official code counts: int(density_l size_l) entries of each layer, of a total that is real.

    Args:
        shapes: Name -> shape of each leaf that may be pruned; DisPFL's are all, biases and norms included.
        sparsity: Fraction of zeros over all of them, in [0, 1).

    Returns:
        i32[L]; the sum falls short of (1 - sparsity) of all by less than the number of layers.
    """
    errors.check_range("sparsity", sparsity, 0, 1, high_open=True)
    sizes = _sizes(shapes)
    targets = _in_proportion(SHARES["erk"], shapes, round(1 - sparsity, 12) * int(sizes.sum()))
    # Rounded first, or a target a hair below a whole number would lose an entry.
    return _none_empty(np.floor(np.round(targets, 6)).astype(np.int64), sizes, shapes)


def _in_proportion(share: Callable[[Sequence[int]], int], shapes: Shapes, total: float) -> np.ndarray:
    """f64[L]: `total` entries in proportion to each layer's share, none above its size."""
    sizes = _sizes(shapes)
    shares = np.array([share(shape) for shape in shapes.values()], np.float64)
    dense = np.zeros(len(sizes), bool)
    while True:
        epsilon = (total - sizes[dense].sum()) / max(shares[~dense].sum(), 1)
        over = ~dense & (epsilon * shares > sizes)
        if not over.any():
            return np.where(dense, sizes, epsilon * shares)
        dense |= over


def erk_linear(shapes: Shapes, sparsity: float, biases: Mapping[str, int] | None = None) -> np.ndarray:
    """FedDST's form of ERK (arXiv 2112.09824, official code): layer sparsities are rescaled, not densities.

        s_l = c (1 - sum(dimensions) / product(dimensions)), with c such that the mean over entries is `sparsity`

    Args:
        shapes: Name -> shape of each kernel.
        sparsity: Mean sparsity, in [0, 1).
        biases: Name -> entries of the layer's bias. The official code counts them in the layer's size, although it
            never prunes them; none by default.

    Returns:
        i32[L], floor((1 - s_l) size_l) entries kept of each kernel; the sum is only near (1 - sparsity) of all.
    """
    kernels = _sizes(shapes)
    sizes = kernels + np.array([(biases or {}).get(name, 0) for name in shapes])
    kept = np.minimum(np.floor((1 - _rescaled(shapes, sizes, sparsity)) * sizes), kernels)
    return _none_empty(kept, kernels, shapes)


def _rescaled(shapes: Shapes, sizes: np.ndarray, sparsity: float) -> np.ndarray:
    """The layer sparsities s_l of `erk_linear`, f64[L], whose mean weighted by sizes[L] is `sparsity`."""
    errors.check_range("sparsity", sparsity, 0, 1, high_open=True)
    raw = 1 - np.array([sum(shape) for shape in shapes.values()]) / _sizes(shapes)
    if (raw * sizes).sum() <= 0:
        raise errors.UsageError(
            f"layers {', '.join(shapes)} are too small for a linear rescaling of ERK; allowed: layers with more "
            "entries than the sum of their dimensions"
        )
    return raw * (sparsity * sizes.sum() / (raw * sizes).sum())


def _sizes(shapes: Shapes) -> np.ndarray:
    return np.array([prod(shape) for shape in shapes.values()], np.int64)


def _apportion(targets: np.ndarray, sizes: np.ndarray, total: int, shapes: Shapes) -> np.ndarray:
    """Rounds targets[L] to integers that sum to `total`, none above its size; largest remainders first."""
    kept = np.minimum(np.floor(targets).astype(np.int64), sizes)
    for layer in np.argsort(kept - targets, kind="stable")[: total - kept.sum()]:
        kept[layer] += 1
    return _none_empty(kept, sizes, shapes)


def _none_empty(kept: np.ndarray, sizes: np.ndarray, shapes: Shapes) -> np.ndarray:
    for name, layer_kept, size in zip(shapes, kept, sizes, strict=True):
        if layer_kept < 1 <= size:
            raise errors.UsageError(
                f"sparsity leaves layer {name!r} with {int(layer_kept)} of {size} entries; "
                "allowed: at least 1 (lower the sparsity or leave the layer out)"
            )
    return kept.astype(np.int32)
