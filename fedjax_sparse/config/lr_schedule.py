"""Client learning rates over the rounds of a run, or the epochs of a round, as one short text. No JAX here.

Over epochs, read "epoch" for "round" and E, the local epochs, for T.

The factor on the learning rate in round t of T, constant within the round; F is in (0, 1]:

    constant            1
    exponential:F       F^(t / T), so F in the last round and a little less than 1 in the first
    exponential:F@H     F^(t / H): a horizon of H rounds, whatever T is
    decay:F             F^(t - 1)
    step:F@R1,R2,...    F after round R1, F^2 after round R2, ...
    cosine, cosine:F    F + (1 - F) (1 + cos(pi (t - 1) / T)) / 2; F is 0 unless stated
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from fedjax_sparse import errors

GRAMMAR = "constant, exponential:F, exponential:F@H, decay:F, step:F@R1,R2, cosine, cosine:F"

_FACTOR = r"([0-9.eE+-]+)"
_ROUND = r"\d{1,9}"
_FORMS = {
    "constant": r"constant",
    "exponential": rf"exponential:{_FACTOR}(?:@({_ROUND}))?",
    "decay": rf"decay:{_FACTOR}",
    "step": rf"step:{_FACTOR}@({_ROUND}(?:,{_ROUND})*)",
    "cosine": rf"cosine(?::{_FACTOR})?",
}


def factors(schedule: str, rounds: int, flag: str = "--lr-schedule") -> list[float]:
    """The factor on the learning rate in each of rounds 1..T.

    Args:
        schedule: As above.
        rounds: T.
        flag: The option that holds the text, for errors.

    Raises:
        UsageError: the text is no schedule, or its factor is out of range.

    Example:
        >>> factors("step:0.1@2,3", 4)
        [1.0, 1.0, 0.1, 0.010000000000000002]
    """
    name, factor, milestones = _parse(schedule, flag)
    each_round = range(1, rounds + 1)
    if name == "exponential":
        horizon = milestones[0] if milestones else rounds
        return [factor ** (t / horizon) for t in each_round]
    if name == "decay":
        return [factor ** (t - 1) for t in each_round]
    if name == "step":
        return [factor ** sum(milestone < t for milestone in milestones) for t in each_round]
    if name == "cosine":
        return [factor + (1 - factor) * (1 + math.cos(math.pi * (t - 1) / rounds)) / 2 for t in each_round]
    return [1.0] * rounds


def shortfalls(schedule: str, rounds: int, flag: str, horizon: str) -> Iterator[str]:
    """One line where the schedule has more to say than there are rounds.

    Args:
        schedule: As above.
        rounds: T.
        flag: The option that holds the text.
        horizon: The option that holds T.
    """
    name, factor, milestones = _parse(schedule, flag)
    if name == "step" and (late := [milestone for milestone in milestones if milestone >= rounds]):
        yield f"{flag} {schedule} has no effect after round {late[0]}, the last of {horizon} {rounds}"
    if name == "exponential" and milestones and milestones[0] > rounds:
        reached = factor ** (rounds / milestones[0])
        yield f"{flag} {schedule} ends at a factor of {reached:.3g} with {horizon} {rounds}"


def _parse(schedule: str, flag: str) -> tuple[str, float, list[int]]:
    """Name, factor (0 where none is stated) and milestones (or the horizon) of a schedule."""
    for name, form in _FORMS.items():
        if match := re.fullmatch(form, schedule):
            factor, milestones = (*match.groups(), None, None)[:2]
            try:
                value = float(factor) if factor else 0.0
            except ValueError:
                break
            if factor:
                errors.check_range(f"F in {flag} {schedule}", value, 0, 1, low_open=True)
            rounds = [int(number) for number in milestones.split(",")] if milestones else []
            if name == "exponential" and rounds:
                errors.check_range(f"H in {flag} {schedule}", rounds[0], 1)
            return name, value, rounds
    raise errors.UsageError(f"{flag} = {schedule!r} is not valid; allowed: {GRAMMAR}")
