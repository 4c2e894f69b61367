"""What runs have come to, a line each: as text and as CSV. Reads no files; writes one."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_sparse.results.reading import ACCURACY, Run


class Summary(NamedTuple):
    """One run's line in the table. Arrays hold one number for each seed; costs are those of the whole run.

    Attributes:
        run: The run's label.
        seeds: How many.
        rounds: Rounds that every seed has recorded.
        score: What the next three are: test accuracy, or test loss where there are no classes.
        best: Over all recorded rounds.
        last10: Mean over the recorded rounds among the last ten.
        last: In the last recorded round.
        density: In the last recorded round, of all trainable parameters.
        uplink_bytes: From the clients.
        downlink_bytes: To the clients.
        flops: Training.
        flops_dense: The same training without sparsity.
    """

    run: str
    seeds: int
    rounds: int
    score: str
    best: np.ndarray
    last10: np.ndarray
    last: np.ndarray
    density: np.ndarray
    uplink_bytes: np.ndarray
    downlink_bytes: np.ndarray
    flops: np.ndarray
    flops_dense: np.ndarray


def summarize(run: Run, label: str) -> Summary:
    """The run's line in the table; NaN where a seed has recorded nothing finite."""
    score, best = (ACCURACY, np.max) if run.has(ACCURACY) else ("global_test_loss", np.min)

    def best_of(seed: Mapping[str, np.ndarray]) -> float:
        finite = seed[score][np.isfinite(seed[score])]
        return float(best(finite)) if finite.size else np.nan

    def late_mean(seed: Mapping[str, np.ndarray]) -> float:
        return float(np.mean(seed[score][seed["round"] > seed["round"][-1] - 10]))

    return Summary(
        label,
        len(run.seeds),
        int(min(seed["round"][-1] for seed in run.seeds)),
        score,
        np.array([best_of(seed) for seed in run.seeds]),
        np.array([late_mean(seed) for seed in run.seeds]),
        *(np.array([seed[key][-1] for seed in run.seeds]) for key in (score, *Summary._fields[7:])),
    )


def format_table(summaries: Sequence[Summary]) -> str:
    """The table as text: means over seeds, and standard deviations of the scores."""
    lines = [["run", "seeds", "rounds", "score", "best", "last 10", "last", "density", "up", "down", "FLOPs"]]
    for line in summaries:
        score, scale, digits = ("accuracy %", 100, 2) if line.score == ACCURACY else ("test loss", 1, 4)
        lines.append(
            [line.run, str(line.seeds), str(line.rounds), score]
            + [_with_spread(scale * values, digits) for values in (line.best, line.last10, line.last)]
            + [f"{100 * line.density.mean():.3g} %"]
            + [_si(values.mean(), "B") for values in (line.uplink_bytes, line.downlink_bytes)]
            + [_si(line.flops.mean(), "")]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def write_table(summaries: Sequence[Summary], file: Path) -> Path:
    """The table as CSV: exact means, and standard deviations (n - 1; empty for one seed)."""
    plain, measured = Summary._fields[:4], Summary._fields[4:]
    header = [*plain, *(f"{name}_{statistic}" for name in measured for statistic in ("mean", "std"))]
    rows = [
        [*line[:4], *(number for values in line[4:] for number in (values.mean(), _std(values)))]
        for line in summaries
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


def _with_spread(values: np.ndarray, digits: int) -> str:
    spread = f" ± {_std(values):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _si(value: float, unit: str) -> str:
    """Four digits and a decimal prefix: 550.9 MB."""
    prefixes = ["", "k", "M", "G", "T", "P", "E", "Z"]
    power = min(int(np.log10(max(value, 1)) / 3), len(prefixes) - 1)
    return f"{value / 1000**power:.4g} {prefixes[power]}{unit}".rstrip()
