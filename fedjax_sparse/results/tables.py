"""What runs have come to, a line each: as text and as CSV. Reads no files; writes one."""

from __future__ import annotations

import csv
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_sparse.costs.units import human_time
from fedjax_sparse.results import naming
from fedjax_sparse.results.reading import ACCURACY, CLIENT_ACCURACY, LOSS, Run
from fedjax_sparse.results.statistics import Estimate

SPREAD = "Means over seeds ± their standard deviation"  # a comparison's table has intervals


class Summary(NamedTuple):
    """One run's line in the table. Arrays hold one number for each seed; costs are those of the whole run.

    Attributes:
        run: The run's label.
        seeds: How many.
        rounds: Rounds that every seed has recorded.
        score: What the next three are: test accuracy, or test loss where there are no classes.
        score_best: Over all recorded rounds.
        score_last10: Mean over the recorded rounds among the last ten.
        score_last: In the last recorded round.
        client_test_accuracy_last10: Mean over clients of the accuracy on their own test images, and over the recorded
            rounds among the last ten; NaN where it was not asked for.
        density: In the last recorded round, of all trainable parameters.
        uplink_bytes: From the clients.
        downlink_bytes: To the clients.
        flops: Training.
        flops_dense: The same training without sparsity.
        simulated_seconds: As clients would see them; NaN where no network was stated.
    """

    run: str
    seeds: int
    rounds: int
    score: str
    score_best: np.ndarray
    score_last10: np.ndarray
    score_last: np.ndarray
    client_test_accuracy_last10: np.ndarray
    density: np.ndarray
    uplink_bytes: np.ndarray
    downlink_bytes: np.ndarray
    flops: np.ndarray
    flops_dense: np.ndarray
    simulated_seconds: np.ndarray


def summaries(runs: Sequence[Run]) -> list[Summary]:
    """The lines of the runs, under names that tell them apart."""
    return [summarize(run, label) for run, label in zip(runs, naming.labels(runs), strict=True)]


def summarize(run: Run, label: str) -> Summary:
    """The run's line in the table; NaN where a seed has recorded nothing finite."""
    score = score_of(run)

    def late(key: str) -> np.ndarray:
        return np.array([late_mean(seed, key) for seed in run.seeds])

    def last(key: str) -> np.ndarray:
        return np.array([seed[key][-1] if key in seed else np.nan for seed in run.seeds])

    return Summary(
        label,
        len(run.seeds),
        int(min(seed["round"][-1] for seed in run.seeds)),
        score,
        np.array([best_of(seed, score) for seed in run.seeds]),
        late(score),
        last(score),
        late(CLIENT_ACCURACY),
        *map(last, Summary._fields[8:]),
    )


def score_of(run: Run) -> str:
    """The column that says how good a model is: test accuracy, or test loss where there are no classes."""
    return ACCURACY if run.has(ACCURACY) else LOSS


def best_of(seed: Mapping[str, np.ndarray], score: str) -> float:
    """The largest accuracy or the smallest loss of all recorded rounds; NaN if none is finite."""
    finite = seed[score][np.isfinite(seed[score])]
    return float(finite.min() if score == LOSS else finite.max()) if finite.size else np.nan


def late_mean(seed: Mapping[str, np.ndarray], key: str, rounds: int = 10) -> float:
    """Over the recorded rounds among the last so many; NaN if nothing was trained yet, or `key` not recorded."""
    late = seed["round"] > max(seed["round"][-1] - rounds, 0)
    return float(np.mean(seed[key][late])) if key in seed and late.any() else np.nan


def format_table(lines: Sequence[Summary], width: int | None = None) -> str:
    """The table as text: means over seeds and standard deviations of the scores, which a line below it says.

    Args:
        lines: A line for each run.
        width: Columns of the terminal; in one that is too narrow every number has a line. None: as wide as need be.
    """
    header, *rows = zip(*columns(lines), strict=True)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    if width is None or sum(widths) + 2 * len(widths) - 2 <= width:
        table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (header, *rows)]
    else:
        longest = max(map(len, header))
        table = [f"{name:{longest}} {cell}" for row in rows for name, cell in zip(header, row, strict=True)]
    said = f"{SPREAD}." if any(line.seeds > 1 for line in lines) else ""
    return "\n".join([*table, *textwrap.wrap(said, width or len(SPREAD) + 1)])


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None where it is something else, such as a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def columns(lines: Sequence[Summary]) -> Iterator[Sequence[str]]:
    """Title and cells of each column; clients' accuracy and simulated time only where a run has them."""
    accuracy = [line.score == ACCURACY for line in lines]
    yield "run", *(line.run for line in lines)
    yield "seeds", *(str(line.seeds) for line in lines)
    yield "rounds", *(str(line.rounds) for line in lines)
    yield "score", *("accuracy %" if percent else "test loss" for percent in accuracy)
    for title, key in (("best", "score_best"), ("last 10", "score_last10"), ("last", "score_last")):
        values = [getattr(line, key) for line in lines]
        yield title, *(_score(*each) for each in zip(values, accuracy, strict=True))
    clients = [line.client_test_accuracy_last10 for line in lines]
    if np.isfinite(np.concatenate(clients)).any():
        yield "clients %", *(_score(values, True) for values in clients)
    yield "density", *(f"{100 * line.density.mean():.3g} %" for line in lines)
    yield "up", *(si(line.uplink_bytes.mean(), "B") for line in lines)
    yield "down", *(si(line.downlink_bytes.mean(), "B") for line in lines)
    yield "FLOPs", *(si(line.flops.mean(), "") for line in lines)
    times = [line.simulated_seconds.mean() for line in lines]
    if np.isfinite(times).any():
        yield "time", *(human_time(time) if np.isfinite(time) else "-" for time in times)


def write_table(lines: Sequence[Summary], file: Path) -> Path:
    """The table as CSV: exact means, and standard deviations (n - 1; empty for one seed)."""
    plain, measured = Summary._fields[:4], Summary._fields[4:]
    header = [*plain, *(f"{name}_{statistic}" for name in measured for statistic in ("mean", "std"))]
    rows = [
        [*line[:4], *(number for values in line[4:] for number in (values.mean(), _std(values)))]
        for line in lines
    ]
    return write_csv(file, header, rows)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Writes numbers in the shortest form that reads back to the same float64; NaN is left empty."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_exact(value) for value in row] for row in rows)
    return file


def _exact(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else np.format_float_positional(value, trim="-")


def _std(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _score(values: np.ndarray, accuracy: bool) -> str:
    """Mean, and standard deviation of several seeds: percent of an accuracy, else a plain number."""
    scale, digits = (100, 2) if accuracy else (1, 4)
    if not np.isfinite(values).any():
        return "-"
    spread = f" ± {scale * _std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * values.mean():.{digits}f}{spread}"


def estimated(number: Estimate, *, percent: bool, sign: str = "") -> str:
    """A score, in percent or as a plain number, with its margin where there is one; empty where it is NaN.

    Args:
        number: The score.
        percent: Whether it is an accuracy.
        sign: `+` for differences.
    """
    scale, digits = (100, 2) if percent else (1, 4)
    if np.isnan(number.mean):
        return ""
    margin = "" if np.isnan(number.margin) else f" ± {scale * number.margin:.{digits}f}"
    return f"{scale * number.mean:{sign}.{digits}f}{margin}"


def markdown(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; bars in its cells are escaped."""
    escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in body)
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *escaped)]


def si(value: float, unit: str) -> str:
    """Four digits and a decimal prefix: 550.9 MB."""
    prefixes = ["", "k", "M", "G", "T", "P", "E", "Z"]
    power = min(int(np.log10(max(value, 1)) / 3), len(prefixes) - 1)
    return f"{value / 1000**power:.4g} {prefixes[power]}{unit}".rstrip()
