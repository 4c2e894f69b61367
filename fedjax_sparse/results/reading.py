"""Reads what runs have recorded. Reads files only: no JAX, no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_sparse.config import run_config
from fedjax_sparse.errors import UsageError
from fedjax_sparse.records.run_folder import CLIENTS, CONFIG, METRICS, RunFolder, no_run

# Every row of a run has them all; accuracy stands in all or in none: only where there are classes.
ACCURACY = "global_test_accuracy"
CLIENT_ACCURACY = "client_test_accuracy"
LOSS = "global_test_loss"
SECONDS = "simulated_seconds"  # only of runs with a network
KEYS = (
    "round",
    "train_loss",
    LOSS,
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
        algorithm: Its name.
        options: The resolved configuration, of the run and of its algorithm, by name.
        seeds: For each seed that has recorded anything, column -> float64[rows], NaN where a row has null or leaves
            the value out. `communicated_bytes` is added: uplink and downlink together.
        clients: The text of `clients.csv`, who holds what; empty if there is none.
    """

    folder: Path
    algorithm: str
    options: Mapping[str, Any]
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
    parts = seed_folders(folder)
    if not parts:
        raise no_run(folder, f"it has no {METRICS} and no seed_<s> folder that has one")
    seeds = [_columns(part / METRICS, rows) for part in parts if (rows := RunFolder(part).rows())]
    if not seeds:
        raise UsageError(f"{folder}: no metrics yet")
    clients = parts[0] / CLIENTS
    whole = folder if (folder / CONFIG).is_file() else parts[0]  # a seed's own states one seed
    table = run_config.read(whole / CONFIG)
    algorithm, of_algorithm = run_config.algorithm_of(table)
    return Run(
        folder,
        algorithm or "",
        run_config.options_of_run(table) | of_algorithm,
        seeds,
        clients.read_text(encoding="utf-8") if clients.exists() else "",
    )


def seed_folders(folder: Path) -> list[Path]:
    """The folders with records: this one, or those of its seeds in the order of their numbers."""
    if (folder / METRICS).exists():
        return [folder]
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
