"""The two errors a user meets, and how they are worded: what, where, what is allowed."""

import difflib
import importlib
import math
from collections.abc import Iterable
from typing import Any, NoReturn

MOST_NAMES = 40  # an error is one line: longer lists are cut
LEAST_SIMILARITY = 0.75  # of a name and what is offered in its place


class UsageError(ValueError):
    """The request is wrong: bad flag, name, range, file or combination. The command line exits with 2."""


class RunError(RuntimeError):
    """The request was fine but the run failed: divergence, full disk, lost data. The command line exits with 1."""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> NoReturn:
    """Raises a `UsageError` that lists the allowed names, and asks about one that is near."""
    allowed = sorted(allowed)
    listed = allowed if len(allowed) <= MOST_NAMES else [*allowed[:MOST_NAMES], "..."]
    raise UsageError(f"unknown {kind} {name!r}{did_you_mean(name, allowed)} (allowed: {', '.join(listed)})")


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """The question whether a nearby name was meant; empty where none is near.

    Near is the same word in other letters' case or order, or one of which at least three quarters agree: a few typing
    errors, not another word that happens to share letters.
    """
    by_word = {other.lower().strip("-").replace("_", "-"): other for other in allowed}
    word = name.lower().strip("-").replace("_", "-")
    near = difflib.get_close_matches(word, by_word, n=1, cutoff=LEAST_SIMILARITY)
    near = near or [other for other in by_word if sorted(other) == sorted(word)]
    return f"; did you mean {by_word[near[0]]!r}?" if near else ""


def optional_package(module: str, extra: str, who: str) -> Any:
    """The module, which comes with an extra of this package.

    Args:
        module: Its name.
        extra: As pip takes it in fedjax-sparse[EXTRA].
        who: Needs it, with its verb, for the error.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{who} another package: pip install 'fedjax-sparse[{extra}]'") from error


def check_range(
    name: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Raises a `UsageError` unless `value` is a number in the stated interval; `None` means unbounded.

    Args:
        name: The flag or field, as its user knows it.
        value: The value to check; NaN is never in range.
        low: Lower end.
        high: Upper end.
        low_open: Whether `low` itself is excluded.
        high_open: Whether `high` itself is excluded.
    """
    too_low = low is not None and not (value > low if low_open else value >= low)
    too_high = high is not None and not (value < high if high_open else value <= high)
    if too_low or too_high or value != value:
        allowed = interval(low, high, low_open=low_open, high_open=high_open)
        raise UsageError(f"{name} = {shown(value)} is out of range; allowed: {allowed}")


def shown(value: object) -> str:
    """A value as it is written, but a whole number of any length in a few characters."""
    if type(value) is int and abs(value) >= 10**40:
        return f"about {'-' * (value < 0)}10^{int(math.log10(abs(value)))}"
    try:
        return repr(value)
    except ValueError:  # such a number within
        return f"a {type(value).__name__}"


def interval(
    low: float | None = None, high: float | None = None, *, low_open: bool = False, high_open: bool = False
) -> str:
    """An interval in mathematical notation, such as [0, 1); `None` means unbounded."""
    left = "(-inf" if low is None else f"{'(' if low_open else '['}{low:.12g}"
    right = "inf)" if high is None else f"{high:.12g}{')' if high_open else ']'}"
    return f"{left}, {right}"
