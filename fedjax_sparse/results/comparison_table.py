"""The table of a comparison, from the folders of its runs: numbers for programs, Markdown for people. No JAX.

Scores are test accuracy or, where there are no classes, test loss. Means are over the seeds that finished, ± half of
their 95 % interval; a seed that diverged is named in the note, and left out. The best score was chosen on the test set:
it flatters runs whose accuracy jumps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedjax_sparse.config import comparison as comparisons
from fedjax_sparse.config.comparison import Case, Comparison
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.config.sections import Cohorts, Partition
from fedjax_sparse.costs import units
from fedjax_sparse.errors import UsageError
from fedjax_sparse.records import run_folder
from fedjax_sparse.records.run_folder import MANIFEST
from fedjax_sparse.results import reading, tables
from fedjax_sparse.results.reading import ACCURACY, LOSS, SECONDS, Run
from fedjax_sparse.results.statistics import Estimate, cost_to_reach, estimate, paired

BySeed = Mapping[int, float]


class Cost(NamedTuple):
    """What a run has cost by its end, and by the time that it reached the target.

    Attributes:
        column: Of the run's rows, and of the table.
        title: Of the column in the table for people.
        unit: Of its numbers there.
        to_target: Column of the cost up to the target; empty where that is not stated.
    """

    column: str
    title: str
    unit: str
    to_target: str


COSTS = (
    Cost("uplink_bytes", "uplink", "B", ""),
    Cost("communicated_bytes", "bytes", "B", "bytes_to_target"),
    Cost("flops", "FLOPs", "", "flops_to_target"),
    Cost(SECONDS, "simulated time", "s", "seconds_to_target"),  # only of runs with a network
)


class Outcome(NamedTuple):
    """What came of one run.

    Attributes:
        case: The run.
        run: All that was recorded; None if nothing was.
        seeds: Of the seeds that finished: seed -> column -> float64[rows], as in `Run.seeds`.
        faults: Why others did not finish.
    """

    case: Case
    run: Run | None
    seeds: Mapping[int, Mapping[str, np.ndarray]]
    faults: Sequence[str]


class Row(NamedTuple):
    """One run's line in the table.

    Attributes:
        algorithm: Its name.
        sparsity: Of those compared; None where the algorithm runs once.
        seeds: How many finished.
        measures: Column -> mean over seeds and its margin.
        difference: Of the mean score to that of the reference, seed by seed; None where there is no reference.
        note: Why seeds did not finish, and in what the run differs from the others.
    """

    algorithm: str
    sparsity: float | None
    seeds: int
    measures: Mapping[str, Estimate]
    difference: Estimate | None
    note: str


def read(case: Case, folder: Path, failure: str | None = None) -> Outcome:
    """What came of a run.

    Args:
        case: The run.
        folder: Of the run; it need not be there.
        failure: Why it failed, if it did.

    Raises:
        UsageError: The folder is no run folder.
        RunError: Its records are damaged.
    """
    faults = [failure] if failure else []
    if not (folder / MANIFEST).is_file():
        return Outcome(case, None, {}, faults)
    parts = run_folder.open_run(folder)[1]
    seeds = {}
    for part in parts:
        manifest = part.manifest()
        (seed,), status = manifest["seeds"], str(manifest["status"])
        if status == "finished":
            seeds[seed] = reading.read(part.path).seeds[0]
        elif not failure:
            faults.append(f"seed {seed} {status}")
    recorded = any(part.rows() for part in parts)
    return Outcome(case, reading.read(folder) if recorded else None, seeds, faults)


def read_all(folder: Path) -> tuple[Comparison, list[Outcome]]:
    """A comparison that is on disk, and what has come of each of its runs.

    Raises:
        UsageError: The folder holds no comparison, or none of its runs has recorded anything.
        RunError: A run's records are damaged.
    """
    comparison = comparisons.read(folder)
    outcomes = [read(case, folder / case.name) for case in comparison.cases()]
    if not any(outcome.run for outcome in outcomes):
        raise UsageError(f"{folder}: no run has recorded anything yet")
    return comparison, outcomes


def score_of(outcomes: Sequence[Outcome]) -> str:
    """The column that is compared: test accuracy where all have classes."""
    runs = [outcome.run for outcome in outcomes if outcome.run]
    return ACCURACY if all(run.has(ACCURACY) for run in runs) else LOSS


def rows(outcomes: Sequence[Outcome], comparison: Comparison) -> list[Row]:
    """The lines of the table, in the order of the outcomes."""
    score = score_of(outcomes)
    timed = all(outcome.run.has(SECONDS) for outcome in outcomes if outcome.run)
    costs = [cost for cost in COSTS if cost.column != SECONDS or timed]
    measured = [_measures(outcome, score, costs, comparison) for outcome in outcomes]
    notes = _differences([outcome.run for outcome in outcomes])
    lines = []
    for outcome, measures, differing in zip(outcomes, measured, notes, strict=True):
        reference = _reference_of(outcome, outcomes, measured, comparison)
        lines.append(
            Row(
                outcome.case.config.algorithm,
                outcome.case.sparsity,
                len(outcome.seeds),
                {name: estimate(by_seed.values()) for name, by_seed in measures.items()},
                None if reference is None else paired(measures["score_mean"], reference),
                "; ".join([*outcome.faults, *differing]),
            )
        )
    return lines


def _measures(
    outcome: Outcome, score: str, costs: Sequence[Cost], comparison: Comparison
) -> dict[str, BySeed]:
    """Column of the table -> seed -> value."""

    def by_seed(of: Callable[[Mapping[str, np.ndarray]], float]) -> BySeed:
        return {seed: of(columns) for seed, columns in outcome.seeds.items()}

    measures = {
        "score_last": by_seed(lambda columns: float(columns[score][-1])),
        "score_best": by_seed(lambda columns: tables.best_of(columns, score)),
        "score_mean": by_seed(lambda columns: tables.late_mean(columns, score, comparison.last)),
    }
    for cost in costs:
        measures[cost.column] = by_seed(lambda columns, cost=cost: float(columns[cost.column][-1]))
    target = comparison.target
    if target is None:
        return measures
    for cost in costs:
        if cost.to_target:
            measures[cost.to_target] = by_seed(
                lambda columns, cost=cost: cost_to_reach(
                    columns[score], columns[cost.column], target, lower_is_better=score == LOSS
                )
            )
    return measures


def _reference_of(
    outcome: Outcome,
    outcomes: Sequence[Outcome],
    measured: Sequence[Mapping[str, BySeed]],
    comparison: Comparison,
) -> BySeed | None:
    """Mean scores of the reference, at the outcome's sparsity where the reference runs at several; else None."""
    for other, measures in zip(outcomes, measured, strict=True):
        same_sparsity = other.case.sparsity in (None, outcome.case.sparsity)
        if other.case.config.algorithm == comparison.reference and same_sparsity and other is not outcome:
            return measures["score_mean"]
    return None


def _differences(runs: Sequence[Run | None]) -> list[list[str]]:
    """For each run the options of partition and cohorts in which it departs from most."""
    shared = [o.name for section in (Partition, Cohorts) for o in declared_options(section)]
    usual = {
        name: Counter(run.options.get(name) for run in runs if run).most_common(1)[0][0]
        for name in shared
        if any(runs)
    }
    return [
        [f"{name} = {run.options.get(name)}" for name in shared if run.options.get(name) != usual[name]]
        if run
        else []
        for run in runs
    ]


def write_csv(lines: Sequence[Row], file: Path) -> Path:
    """The table as CSV: exact means, and margins of their 95 % intervals; what is unknown is empty."""
    columns = [*lines[0].measures, *(["difference"] if _with_differences(lines) else [])]
    header = [
        "algorithm",
        "sparsity",
        "seeds",
        *(f"{c}{part}" for c in columns for part in ("", "_margin")),
        "note",
    ]
    body = []
    for line in lines:
        estimates = {**line.measures, "difference": line.difference or Estimate(np.nan, np.nan)}
        numbers = [number for column in columns for number in estimates[column]]
        body.append(
            [line.algorithm, "" if line.sparsity is None else line.sparsity, line.seeds, *numbers, line.note]
        )
    return tables.write_csv(file, header, body)


def cells(lines: Sequence[Row], comparison: Comparison, score: str) -> tuple[list[str], list[list[str]], str]:
    """The table for people: its header, its rows, and a sentence on what its numbers are."""
    accuracy = score == ACCURACY
    titles = {
        "score_last": "last",
        "score_best": "best",
        "score_mean": f"mean of last {comparison.last}",
        **{cost.column: cost.title for cost in COSTS},
        **{cost.to_target: f"{cost.title} to {_target(comparison, accuracy)}" for cost in COSTS},
    }
    differences = _with_differences(lines)
    header = ["algorithm", "sparsity", "seeds", *(titles[name] for name in lines[0].measures)]
    header += [*([f"− {comparison.reference}"] if differences else []), "note"]
    body = []
    for line in lines:
        own = [line.algorithm, "" if line.sparsity is None else str(line.sparsity), str(line.seeds)]
        own += [_cell(name, number, accuracy) for name, number in line.measures.items()]
        difference = tables.estimated(line.difference, percent=accuracy, sign="+") if line.difference else ""
        own += [difference] if differences else []
        body.append([*own, line.note])
    what = "Test accuracy in %" if accuracy else "Test loss"
    of_reference = f"; differences in the mean of last {comparison.last}, seed by seed" if differences else ""
    return header, body, f"{what}; means over seeds ± half of their 95 % interval{of_reference}."


def markdown(lines: Sequence[Row], comparison: Comparison, score: str) -> str:
    """The table as Markdown, with a line on what its numbers are."""
    header, body, caption = cells(lines, comparison, score)
    return "\n".join([*tables.markdown(header, body), "", caption, ""])


def _with_differences(lines: Sequence[Row]) -> bool:
    return any(line.difference is not None for line in lines)


def _target(comparison: Comparison, accuracy: bool) -> str:
    target = comparison.target
    return f"{100 * target:g} %" if accuracy and target is not None else f"{target}"


def _cell(name: str, number: Estimate, accuracy: bool) -> str:
    if name.startswith("score"):
        return tables.estimated(number, percent=accuracy)
    if np.isnan(number.mean):
        return ""
    (unit,) = (cost.unit for cost in COSTS if name in (cost.column, cost.to_target))
    return units.human_time(number.mean) if unit == "s" else tables.si(number.mean, unit)
