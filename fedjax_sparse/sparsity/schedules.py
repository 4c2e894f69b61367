"""Sparsity by round, and the number of entries it leaves. NumPy in float64 only.

A float32 sparsity gives a wrong count in half of the rounds of an 11-million-parameter model, so counts are made
here, on the host, and reach the device as i32 tables indexed by the round.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np

from fedjax_sparse import errors

CountRule = Callable[[int, float], int]


def exact(share: float) -> Fraction:
    """The decimal number that a float stands for, to 12 places: 0.29, whose float is a little less, is 29/100."""
    return Fraction(str(round(float(share), 12)))


def floor_pruned(size: int, sparsity: float) -> int:
    """N - floor(s N) entries are kept: FedSparsify (arXiv 2204.12430)."""
    return size - int(exact(sparsity) * size)


def floor_pruned_in_float64(size: int, sparsity: float) -> int:
    """The same as the code of FedSparsify has it: s N is rounded first, so that 0.29 of 100 are 28."""
    return size - int(sparsity * size)


def floor_kept(size: int, sparsity: float) -> int:
    """floor(N (1 - s)) entries are kept: SalientGrads (arXiv 2304.07488)."""
    return int(size * (1 - exact(sparsity)))


def round_pruned(size: int, sparsity: float) -> int:
    """N - round(s N) entries are kept: SparsyFed (arXiv 2504.05153). In float64, halves to even, as in PyTorch."""
    return size - round(sparsity * size)


def round_kept(size: int, sparsity: float) -> int:
    """round(N (1 - s)) entries are kept, in float64, halves to even: SNIP and GraSP in the code of FedSparsify."""
    return round(size * (1 - sparsity))


def kept_table(size: int, sparsities: Iterable[float], rule: CountRule) -> np.ndarray:
    """The number of entries kept at each sparsity.

    Args:
        size: N, entries that may be pruned.
        sparsities: One for each round, from round 0 to the last, T.
        rule: (size, sparsity) -> number kept.

    Returns:
        i32[T + 1], to be indexed by the round.

    Example:
        >>> print(kept_table(100, [0.0, 0.29, 0.9], floor_pruned))
        [100  71  10]
    """
    return np.array([rule(size, float(sparsity)) for sparsity in sparsities], np.int32)


def polynomial(
    t: np.ndarray | int,
    rounds: int,
    *,
    final: float,
    initial: float = 0.0,
    start: int = 1,
    frequency: int = 1,
    exponent: float = 3,
) -> np.ndarray:
    """The gradual schedule of Zhu & Gupta (arXiv 1710.01878) by rounds, as FedSparsify has it (arXiv 2204.12430).

        s_t = final + (initial - final) (1 - (tau - start) / (rounds - start))^exponent
        tau = frequency floor(t / frequency)

    Never below 0, and `final` after the last round. When `frequency` does not divide `rounds`, the last value is
    short of `final`.

    Args:
        t: Round or rounds, counted from 1; any shape.
        rounds: T, the round that reaches `final`.
        final: Sparsity in the end, in [0, 1).
        initial: Sparsity at the start, in [0, final].
        start: Round of the initial sparsity; the first pruning comes after it. In [0, rounds).
        frequency: Rounds between changes, at least 1.
        exponent: Larger prunes earlier; above 0. The paper's is 3.

    Returns:
        f64[...], shaped like `t`.

    Example:
        >>> print(polynomial(np.array([1, 6, 11]), 11, final=0.9).round(4))
        [0.     0.7875 0.9   ]
    """
    errors.check_range("final sparsity", final, 0, 1, high_open=True)
    errors.check_range("initial sparsity", initial, 0, final)
    errors.check_range("start round", start, 0, rounds, high_open=True)
    errors.check_range("frequency", frequency, 1)
    errors.check_range("exponent", exponent, 0, low_open=True)
    tau = frequency * (np.asarray(t) // frequency)
    progress = np.minimum((tau - start) / (rounds - start), 1.0)
    return np.maximum(final + (initial - final) * (1 - progress) ** exponent, 0.0)


def one_shot(t: np.ndarray | int, *, final: float, start: int) -> np.ndarray:
    """Dense before round `start`, sparsity `final` from then on; f64[...], shaped like `t`."""
    errors.check_range("final sparsity", final, 0, 1, high_open=True)
    return np.where(np.asarray(t) >= start, final, 0.0)


def cosine_drop_fraction(t: np.ndarray | int, *, initial: float, end: int) -> np.ndarray:
    """Share of the living weights that a mask update replaces: RigL (arXiv 1911.11134).

        initial / 2 (1 + cos(pi t / end)), and 0 from `end` on

    Args:
        t: Round or rounds; any shape.
        initial: Share at round 0, in [0, 1].
        end: Round from which the mask rests, at least 1.

    Returns:
        f64[...], shaped like `t`.
    """
    errors.check_range("initial drop fraction", initial, 0, 1)
    errors.check_range("end", end, 1)
    return np.where(np.asarray(t) < end, initial / 2 * (1 + np.cos(np.pi * np.asarray(t) / end)), 0.0)
