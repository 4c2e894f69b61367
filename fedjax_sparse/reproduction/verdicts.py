"""Verdicts on claims, from differences over seeds and their 95 % intervals. No files, no JAX here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fedjax_sparse.results.statistics import Estimate, paired

BySeed = Mapping[int, float]


class Verdict(NamedTuple):
    """Whether a claim holds here, None where the runs do not decide it, and what was measured, as a sentence."""

    holds: bool | None
    measured: str


def above(estimate: Estimate, threshold: float = 0.0) -> bool | None:
    """Whether a mean over seeds is above a threshold; None where that lies within its interval, or the mean is NaN.

    One seed has no interval: its value decides, and `Report.last_line` says that it is alone.

    Example:
        >>> above(Estimate(0.02, 0.01)), above(Estimate(0.02, 0.05)), above(Estimate(-0.02, float("nan")))
        (True, None, False)
    """
    apart = estimate.mean - threshold
    if math.isnan(apart) or abs(apart) < estimate.margin:
        return None
    return apart > 0


def times(values: BySeed, reference: BySeed, factor: float) -> bool | None:
    """Whether values are above so many times those of a reference, seed by seed; the reference may be zero."""
    return above(paired(values, {seed: factor * value for seed, value in reference.items()}))


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """False if one is, else None if one is, else True."""
    given = [*answers]
    return False if False in given else None if None in given else True


def together(parts: Iterable[Verdict]) -> Verdict:
    """The verdict on a claim of several parts, all of which have to hold."""
    given = [*parts]
    return Verdict(all_of(part.holds for part in given), "; ".join(part.measured for part in given))


def beats(apart: Mapping[str, Estimate], least: float = 0.0) -> Verdict:
    """Whether a method is above all of its rivals.

    Args:
        apart: Rival -> the method's accuracy less that of the rival; one at least.
        least: What the differences have to exceed, below zero where a method may be that much worse.

    Returns:
        With the difference to the nearest rival, and to all others that are not beaten for certain.
    """
    answers = {name: above(by, least) for name, by in apart.items()}
    nearest = min(apart, key=lambda name: apart[name].mean)
    shown = [nearest, *(name for name in apart if name != nearest and not answers[name])]
    return Verdict(
        all_of(answers.values()), ", ".join(f"{points_apart(apart[name])} {name}" for name in shown)
    )


def points_apart(difference: Estimate, what: str = "points") -> str:
    """A difference of fractions in words: 1.3 ± 0.4 points above."""
    side = "above" if difference.mean >= 0 else "below"
    return f"{_with_margin(100 * abs(difference.mean), 100 * difference.margin, '.1f')} {what} {side}"


def factor(ratio: Estimate) -> str:
    """A ratio in words: 1.96 ± 0.05 times."""
    return f"{_with_margin(*ratio, '.2f')} times"


def _with_margin(mean: float, margin: float, form: str) -> str:
    return f"{mean:{form}}" if math.isnan(margin) else f"{mean:{form}} ± {margin:{form}}"
