"""Reads what runs have recorded, and sums it up in a table. Reads files only: no JAX, no matplotlib."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_sparse.config import run_config
from fedjax_sparse.errors import UsageError
from fedjax_sparse.records.run_folder import CLIENTS, CONFIG, METRICS, RunFolder

# Every row of a run has them all; accuracy stands in all or in none: only where there are classes.
ACCURACY = "global_test_accuracy"
KEYS = (
    "round",
    "train_loss",
    "global_test_loss",
    ACCURACY,
    "density",
    "uplink_bytes",
    "downlink_bytes",
    "flops",
    "flops_dense",
)


class Run(NamedTuple):
    """One configuration and what each of its seeds recorded.

    Attributes:
        folder: Where it was read.
        config: The resolved configuration, as TOML tables.
        seeds: For each seed that has recorded anything, column -> float64[rows], NaN where a row has null or leaves
            the value out. `communicated_bytes` is added: uplink and downlink together.
        clients: The text of `clients.csv`, who holds what; empty if there is none.
    """

    folder: Path
    config: Mapping[str, Any]
    seeds: Sequence[Mapping[str, np.ndarray]]
    clients: str

    def has(self, key: str) -> bool:
        """Whether the seeds have this column, and a finite number in it."""
        return all(key in seed for seed in self.seeds) and any(
            np.isfinite(seed[key]).any() for seed in self.seeds
        )


def read(folder: Path) -> Run:
    """Reads a run folder, or all `seed_<s>` folders in it.

    Raises:
        UsageError: If there is no such folder, or no configuration or metrics in it, or a row leaves something out.
        RunError: If a line of its metrics, other than a half-written last one, is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"no run folder {folder}")
    parts = [folder] if (folder / METRICS).exists() else _seed_folders(folder)
    if not parts:
        raise UsageError(
            f"{folder} is not a run folder: it has no {METRICS} and no seed_<s> folder that has one"
        )
    seeds = [_columns(part / METRICS, rows) for part in parts if (rows := RunFolder(part).rows())]
    if not seeds:
        raise UsageError(f"{folder}: no metrics yet")
    clients = parts[0] / CLIENTS
    return Run(
        folder,
        run_config.read(parts[0] / CONFIG),
        seeds,
        clients.read_text(encoding="utf-8") if clients.exists() else "",
    )


def labels(runs: Sequence[Run]) -> list[str]:
    """The shortest names that tell the runs apart: algorithms, folder names, or whole paths."""
    algorithms = [str(run.config.get("algorithm", {}).get("name")) for run in runs]
    for candidates in (algorithms, [run.folder.resolve().name for run in runs]):
        if len(set(candidates)) == len(runs):
            return candidates
    return [str(run.folder) for run in runs]


def _seed_folders(folder: Path) -> list[Path]:
    """In the order of their numbers."""
    parts = [path.parent for path in folder.glob(f"seed_*/{METRICS}")]
    return sorted(parts, key=lambda part: (len(part.name), part.name))


def _columns(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Every numeric column; null is read as NaN."""
    for key in KEYS:
        lacking = [number for number, row in enumerate(rows, start=1) if key not in row]
        if lacking and (key != ACCURACY or len(lacking) < len(rows)):
            raise UsageError(f"{path}: line {lacking[0]} has no {key!r}")
    keys = dict.fromkeys(key for row in rows for key in row)
    numeric = [key for key in keys if all(isinstance(row.get(key), int | float | None) for row in rows)]
    columns = {key: np.array([row.get(key) for row in rows], np.float64) for key in numeric}
    if not set(KEYS) - {ACCURACY} <= columns.keys() or not np.all(np.diff(columns["round"]) > 0):
        raise UsageError(f"{path}: rows need numbers, and a 'round' that increases from line to line")
    columns["communicated_bytes"] = columns["uplink_bytes"] + columns["downlink_bytes"]
    return columns


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
