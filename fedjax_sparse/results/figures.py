"""Figures from run folders. Reads files only: no JAX, and no matplotlib before something is drawn.

Several seeds of a run are drawn as their mean, in a band from the smallest to the largest; the number of seeds behind
each point is in the CSV beside the figure (a seed that diverged stops early). The same folders give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fedjax_sparse.errors import UsageError
from fedjax_sparse.results import clients, drawing, reading, tables
from fedjax_sparse.results.drawing import KINDS, Curve, Quantity
from fedjax_sparse.results.reading import Run

QUANTITIES = {
    "round": Quantity("Round", scale="integer"),
    "communicated_bytes": Quantity("Communicated, uplink and downlink", "B", "log"),
    "flops": Quantity("Training FLOPs, all clients", "FLOP", "log"),
    "global_test_accuracy": Quantity("Test accuracy", "%"),
    "global_test_loss": Quantity("Test loss", scale="wide"),
    "train_loss": Quantity("Training loss", scale="wide"),
    "density": Quantity("Density of all parameters", "%", "wide"),
}

# Figure -> (x, y) of its panels, side by side; a figure that no run can fill is left out.
FIGURES = {
    "accuracy_by_round": [("round", "global_test_accuracy")],
    "accuracy_by_bytes": [("communicated_bytes", "global_test_accuracy")],
    "accuracy_by_flops": [("flops", "global_test_accuracy")],
    "loss_by_round": [("round", "train_loss"), ("round", "global_test_loss")],
    "loss_by_bytes": [("communicated_bytes", "global_test_loss")],
    "loss_by_flops": [("flops", "global_test_loss")],
    "density_by_round": [("round", "density")],
}


def plot(folders: Sequence[Path], out: Path) -> list[Path]:
    """Draws all figures of the runs together, prints their table, and returns the files written to `out`.

    Args:
        folders: Of runs, or the parents of `seed_<s>` folders.
        out: Created if need be.

    Raises:
        UsageError: If a folder cannot be read as a run, the runs cannot be drawn together, or `out` not written.
    """
    if not folders:
        raise UsageError("nothing to plot: name at least one run folder")
    runs = [reading.read(Path(folder)) for folder in folders]
    files = draw(runs, out)
    print(tables.format_table(tables.summaries(runs), tables.terminal_width()))
    return files


def draw(runs: Sequence[Run], out: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws all figures of the runs together, as files of these kinds, with their numbers and their table as CSV.

    Raises:
        UsageError: If the runs cannot be drawn together, or `out` not written.
    """
    partitions = {run.clients: run for run in runs if run.clients}
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = curves(runs, out, kinds)
        for number, run in enumerate(partitions.values(), start=1):
            files += clients.draw(run, out, "clients" if len(partitions) == 1 else f"clients_{number}", kinds)
        return [*files, tables.write_table(tables.summaries(runs), out / "summary.csv")]
    except OSError as error:
        raise UsageError(f"cannot write figures to {out}: {error.strerror}") from error


def curves(runs: Sequence[Run], out: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws those of `FIGURES` that the runs have recorded, each with the CSV of its numbers."""
    names, title, files = reading.labels(runs), _title(runs), []
    for figure, panels in FIGURES.items():
        filled = [[panel for panel in panels if run.has(panel[0]) and run.has(panel[1])] for run in runs]
        most = max(filled, key=len)
        for name, own in zip(names, filled, strict=True):
            if own != most:
                missing = ", ".join(y for x, y in most if (x, y) not in own)
                raise UsageError(f"{name} has not recorded {missing}, which other runs have: plot them apart")
        lines = {panel: [curve(run, *panel) for run in runs] for panel in most}
        if any(len(line.x) for by_run in lines.values() for line in by_run):
            files += drawing.save(
                lambda lines=lines: drawing.draw_panels(lines, names, QUANTITIES, title), out / figure, kinds
            )
            files.append(_write_lines(lines, names, out / f"{figure}.csv"))
    return files


def curve(run: Run, x: str, y: str) -> Curve:
    """Means over the seeds that have recorded a round; a logarithmic x axis starts after 0 (and may stay empty)."""
    rounds = np.unique(np.concatenate([seed["round"] for seed in run.seeds]))
    xs, ys = _by_seed(run, x, rounds), _by_seed(run, y, rounds)
    there = np.isfinite(xs) & np.isfinite(ys)
    if QUANTITIES[x].scale == "log":
        there &= xs > 0
    drawn = there.any(axis=0)
    there, xs, ys = there[:, drawn], xs[:, drawn], ys[:, drawn]
    return Curve(
        xs.mean(axis=0, where=there),
        ys.mean(axis=0, where=there),
        ys.min(axis=0, where=there, initial=np.inf),
        ys.max(axis=0, where=there, initial=-np.inf),
        there.sum(axis=0),
    )


def _by_seed(run: Run, key: str, rounds: np.ndarray) -> np.ndarray:
    """[seeds, rounds], NaN where a seed has no row for the round."""
    values = np.full((len(run.seeds), len(rounds)), np.nan)
    for row, seed in zip(values, run.seeds, strict=True):
        row[np.searchsorted(rounds, seed["round"])] = seed[key]
    return values


def _write_lines(lines: Mapping[tuple[str, str], Sequence[Curve]], names: Sequence[str], file: Path) -> Path:
    header = ["run", "x", "y", "x_mean", "y_mean", "y_min", "y_max", "seeds"]
    rows = [
        [name, *panel, *point]
        for panel, by_run in lines.items()
        for name, line in zip(names, by_run, strict=True)
        for point in zip(*line, strict=True)
    ]
    return tables.write_csv(file, header, rows)


def _title(runs: Sequence[Run]) -> str:
    """The data set, where it is common, and what the bands mean."""
    datasets = {str(run.config.get("dataset", "")) for run in runs}
    counts = sorted({len(run.seeds) for run in runs})
    parts = [*datasets] if len(datasets) == 1 else []
    if counts[-1] > 1:
        parts.append(f"mean and range of {' or '.join(map(str, counts))} seeds")
    return ", ".join(filter(None, parts))
