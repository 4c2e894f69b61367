"""Which settings of a sweep won, from what was tried: for programs, as Markdown, and as CSV of everything. No JAX.

A setting's score is the mean over seeds of its mean validation accuracy (without classes, loss) in the tests among the
last rounds. The best wins; of equal ones that which stands first in the grid. Where a seed diverged, it cannot win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_sparse.config.sweep import Sweep, Trial
from fedjax_sparse.records.trials import Tried
from fedjax_sparse.results import tables
from fedjax_sparse.results.statistics import Estimate, estimate


class Scored(NamedTuple):
    """A setting and what came of it.

    Attributes:
        trial: The setting.
        score: Over its seeds; NaN where one diverged.
        diverged: How many did.
    """

    trial: Trial
    score: Estimate
    diverged: int


class Row(NamedTuple):
    """One algorithm's line in the table.

    Attributes:
        algorithm: Its name.
        settings: What came of each that was tried, in the order of the grid.
        winner: Of them; None where every one diverged or none was tried.
        failure: Why it could not be tried; else empty.
    """

    algorithm: str
    settings: Sequence[Scored]
    winner: Scored | None
    failure: str


def rows(
    trials: Mapping[str, Sequence[Trial]], tried: Sequence[Tried], sweep: Sweep, failures: Mapping[str, str]
) -> list[Row]:
    """The lines of the table, in the order of the algorithms."""
    found = []
    for name, own in trials.items():
        settings = [scored(trial, tried, sweep.last) for trial in own if of(trial, tried)]
        found.append(Row(name, settings, best(settings, loss=_is_loss(tried)), failures.get(name, "")))
    return found


def of(trial: Trial, tried: Sequence[Tried]) -> list[Tried]:
    """What came of a setting, seed by seed."""
    return [each for each in tried if (each.algorithm, each.values) == (trial.algorithm, trial.values)]


def scored(trial: Trial, tried: Sequence[Tried], last: int) -> Scored:
    """A setting's score over the seeds that were tried."""
    seeds = of(trial, tried)
    diverged = sum(each.diverged_at is not None for each in seeds)
    score = estimate(_late(each, last) for each in seeds) if not diverged else Estimate(np.nan, np.nan)
    return Scored(trial, score, diverged)


def best(settings: Sequence[Scored], *, loss: bool) -> Scored | None:
    """The setting that wins, the first of equal ones; None where every one diverged."""
    sound = [each for each in settings if np.isfinite(each.score.mean)]
    return min(sound, key=lambda each: each.score.mean if loss else -each.score.mean, default=None)


def markdown(lines: Sequence[Row], sweep: Sweep, tried: Sequence[Tried]) -> str:
    """Who won, a line for each algorithm, and what the numbers are."""
    loss = _is_loss(tried)
    header = ["algorithm", "settings", "winner", "validation loss" if loss else "validation accuracy", "note"]
    body = [
        [
            line.algorithm,
            str(len(line.settings)),
            _words(line.winner.trial.values) if line.winner else "none",
            tables.estimated(line.winner.score, percent=not loss) if line.winner else "",
            "; ".join(_notes(line)),
        ]
        for line in lines
    ]
    what = "Loss" if loss else "Accuracy in %"
    about = (
        f"{what} on {100 * sweep.validation:g} % of the training examples, held out; mean of the tests among the last "
        f"{sweep.last} rounds, over seeds ± half of their 95 % interval."
    )
    return "\n".join([*tables.markdown(header, body), "", about, ""])


def write_csv(lines: Sequence[Row], file: Path) -> Path:
    """Every setting with its score, its margin, how many of its seeds diverged, and whether it won."""
    names = list(
        dict.fromkeys(name for line in lines for each in line.settings for name in each.trial.values)
    )
    header = ["algorithm", *names, "score", "score_margin", "diverged", "won"]
    body = [
        [
            line.algorithm,
            *(each.trial.values.get(name, "") for name in names),
            *each.score,
            each.diverged,
            int(each is line.winner),
        ]
        for line in lines
        for each in line.settings
    ]
    return tables.write_csv(file, header, body)


def _late(each: Tried, last: int) -> float:
    score = each.loss if each.accuracy is None else each.accuracy
    columns = {"round": np.asarray(each.rounds), "score": np.asarray(score, np.float64)}
    return tables.late_mean(columns, "score", last)


def _is_loss(tried: Sequence[Tried]) -> bool:
    return any(each.accuracy is None for each in tried)


def _notes(line: Row) -> list[str]:
    """Why an algorithm has no winner, what diverged, and where a better value may lie beyond those that were tried."""
    notes = [line.failure] if line.failure else []
    if diverged := sum(bool(each.diverged) for each in line.settings):
        notes.append(f"{diverged} diverged")
    if line.winner is None:
        return notes
    for name, value in line.winner.trial.values.items():
        tried = [each.trial.values[name] for each in line.settings]
        if type(value) in (int, float) and len(set(tried)) > 2 and value in (min(tried), max(tried)):
            notes.append(f"{name} is the {'smallest' if value == min(tried) else 'largest'} tried")
    return notes


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
