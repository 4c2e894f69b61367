"""Means over seeds with their intervals, and differences between runs of the same seeds. No files, no JAX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over seeds and half the width of its confidence interval, NaN where there are too few seeds."""

    mean: float
    margin: float


def estimate(values: Iterable[float]) -> Estimate:
    """The mean of independent values with its 95 % interval, of Student's t with n - 1 degrees of freedom.

    A value that is NaN makes both NaN: a mean over some of the seeds would answer another question.

    Example:
        >>> mean, half = estimate([0.80, 0.82, 0.84])
        >>> f"{mean:.2f} ± {half:.2f}"
        '0.82 ± 0.05'
    """
    sample = np.array([*values], np.float64)
    n = len(sample)
    if n < 2:
        return Estimate(float(sample[0]) if n else np.nan, np.nan)
    quantile = special.stdtrit(n - 1, (1 + LEVEL) / 2)
    return Estimate(float(sample.mean()), float(quantile * sample.std(ddof=1) / np.sqrt(n)))


def paired(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate:
    """The mean difference to a reference over the seeds of both, by seed -> value, with its interval.

    Seeds draw cohorts and initial weights alike for both, so that what they share cancels out.
    """
    return estimate(values[seed] - reference[seed] for seed in values if seed in reference)


def ratio(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate:
    """The mean ratio to a reference, which is not zero, over the seeds of both, by seed -> value, with its interval."""
    return estimate(values[seed] / reference[seed] for seed in values if seed in reference)


def cost_to_reach(score: np.ndarray, cost: np.ndarray, target: float, *, lower_is_better: bool) -> float:
    """The cost at the first evaluation at which a score reaches a target; NaN where none does.

    Args:
        score: float64[rows], in the order of rounds; NaN reaches nothing.
        cost: float64[rows], cumulative.
        target: Of the score.
        lower_is_better: Whether the score is a loss.

    Example:
        >>> score, megabytes = np.array([0.5, 0.7, 0.9]), np.array([1.0, 2.0, 3.0])
        >>> cost_to_reach(score, megabytes, 0.7, lower_is_better=False)
        2.0
    """
    reached = score <= target if lower_is_better else score >= target
    return float(cost[reached.argmax()]) if reached.any() else np.nan
