"""Figures from run folders. Reads files only: no JAX, and no matplotlib before something is drawn.

Several seeds of a run are drawn as their mean, in a band from the smallest to the largest; the number of seeds behind
each point is in the CSV beside the figure (a seed that diverged stops early). The same folders give the same bytes.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fedjax_sparse.errors import UsageError
from fedjax_sparse.results import clients, costs, drawing, layers, naming, overlaps, reading, tables
from fedjax_sparse.results.drawing import KINDS, Curve, Panel, Quantity
from fedjax_sparse.results.reading import ACCURACY, CLIENT_ACCURACY, SECONDS, Run

QUANTITIES = {
    "round": Quantity("Round", scale="rounds"),
    "communicated_bytes": Quantity("Communicated, uplink and downlink", "B", "log"),
    "uplink_bytes": Quantity("Uplink, from clients to server", "B", "log"),
    "downlink_bytes": Quantity("Downlink, from server to clients", "B", "log"),
    "communicated_values": Quantity("Values sent, both ways", "values", "zero"),
    "flops": Quantity("Training FLOPs, all clients", "FLOP", "log"),
    SECONDS: Quantity("Simulated time (s)", "s", "log"),
    "round_seconds": Quantity("Simulated time of a round (s)", "s", "log"),
    ACCURACY: Quantity("Test accuracy", "%"),
    CLIENT_ACCURACY: Quantity("Clients' own test accuracy", "%"),
    "server_test_accuracy": Quantity("Test accuracy of the server's model", "%"),
    "server_client_test_accuracy": Quantity("Clients' own, server's model", "%"),
    "global_test_loss": Quantity("Test loss", scale="wide"),
    "train_loss": Quantity("Training loss", scale="wide"),
    "density": Quantity("Density of all parameters", "%", "zero"),
    "sparsity": Quantity("Sparsity of all parameters", "%", "zero"),
    "server_sparsity": Quantity("Sparsity of the server's model", "%"),
    "file_bytes": Quantity("Size of the model's file", "B", "log"),
    "batch_microseconds": Quantity("Prediction of a batch (µs)", scale="zero"),
    "density_prunable": Quantity("Density of prunable parameters", "%", "zero"),
    "suboptimality": Quantity("f − f*", scale="log"),
    "regrowth": Quantity("Weights that lived in a round and are not sent", scale="log"),
    "mask_iou_rounds": Quantity("IoU of the mask with the round before"),
    "memory_norm": Quantity("Mean norm of what clients remember", scale="wide"),
    "control_mean": Quantity("Norm of the mean control variate", scale="wide"),
    "uplink_density": Quantity("Density of what clients send", "%", "zero"),
    "downlink_density": Quantity("Density of what the server sends", "%", "zero"),
}

# Figure -> x, and y of its panels; a panel that no run can fill is left out.
FIGURES: dict[str, tuple[str, Sequence[str]]] = {
    "accuracy_by_round": ("round", [ACCURACY, CLIENT_ACCURACY]),
    "server_accuracy_by_round": ("round", ["server_test_accuracy", "server_client_test_accuracy"]),
    "accuracy_by_bytes": ("communicated_bytes", [ACCURACY]),
    "accuracy_by_uplink": ("uplink_bytes", [ACCURACY]),
    "accuracy_by_downlink": ("downlink_bytes", [ACCURACY]),
    "accuracy_by_flops": ("flops", [ACCURACY]),
    "accuracy_by_seconds": (SECONDS, [ACCURACY]),
    "loss_by_round": ("round", ["train_loss", "global_test_loss"]),
    "loss_by_bytes": ("communicated_bytes", ["global_test_loss"]),
    "loss_by_uplink": ("uplink_bytes", ["global_test_loss"]),
    "loss_by_downlink": ("downlink_bytes", ["global_test_loss"]),
    "loss_by_flops": ("flops", ["global_test_loss"]),
    "loss_by_seconds": (SECONDS, ["global_test_loss"]),
    "density_by_round": ("round", ["density", "density_prunable", "uplink_density", "downlink_density"]),
}
# Those that a run draws when it ends: the others take twice as long again.
AT_THE_END = (
    "accuracy_by_round",
    "accuracy_by_bytes",
    "accuracy_by_seconds",
    "loss_by_round",
    "density_by_round",
)
# What an algorithm's sparsity is a target for: of which of them, its paper says.
TARGETED = ("density_prunable", "uplink_density", "downlink_density")


def plot(folders: Sequence[Path], out: Path) -> list[Path]:
    """Draws all figures of the runs together, prints their table, and returns the files written to `out`.

    Warns where the runs differ in data or model, so that their curves do not answer one question.

    Args:
        folders: Of runs, or the parents of `seed_<s>` folders.
        out: Created if need be.

    Raises:
        UsageError: If a folder cannot be read as a run, the runs cannot be drawn together, or `out` not written.
    """
    if not folders:
        raise UsageError("nothing to plot: name at least one run folder")
    runs = [reading.read(Path(folder)) for folder in folders]
    if odd := [field for field in naming.differences(runs) if field in ("data", "model")]:
        warnings.warn(f"the runs differ in {' and '.join(odd)}: their curves do not compare", stacklevel=2)
    files = [*draw(runs, out), *parts(runs, out)]
    print(tables.format_table(tables.summaries(runs), tables.terminal_width()))
    return files


def draw(
    runs: Sequence[Run], out: Path, kinds: Sequence[str] = KINDS, names: Sequence[str] = (*FIGURES,)
) -> list[Path]:
    """Draws figures of the runs together and who holds what, with their numbers and the runs' table as CSV.

    Args:
        runs: One or more.
        out: Created if need be.
        kinds: Of `KINDS`.
        names: Of `FIGURES`.

    Raises:
        UsageError: If the runs cannot be drawn together, or `out` not written.
    """
    with written(out):
        return [*curves(runs, out, kinds, names), *holdings(runs, out, kinds)]


@contextlib.contextmanager
def written(out: Path) -> Iterator[None]:
    """Creates the folder of figures; what cannot be written there is a `UsageError`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UsageError(f"cannot write figures to {out}: {error.strerror}") from error


def holdings(runs: Sequence[Run], out: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws who holds what, once for each of the runs' partitions; `out` is there."""
    partitions = {run.clients: run for run in runs if run.clients}
    files = []
    for number, run in enumerate(partitions.values(), start=1):
        files += clients.draw(run, out, "clients" if len(partitions) == 1 else f"clients_{number}", kinds)
    return files


def parts(runs: Sequence[Run], out: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws what the runs cost, by part, and of each that has recorded them, its layers and masks; `out` is there."""
    files = costs.draw(runs, out, kinds=kinds)
    for number, (run, title) in enumerate(zip(runs, naming.titles(runs), strict=True), start=1):
        suffix = "" if len(runs) == 1 else f"_{number}"
        files += layers.draw(run, title, out, f"layers{suffix}", kinds)
        files += overlaps.draw(run, title, out, f"masks{suffix}", kinds)
    return files


def curves(
    runs: Sequence[Run], out: Path, kinds: Sequence[str] = KINDS, names: Sequence[str] = (*FIGURES,)
) -> list[Path]:
    """Draws those of the named `FIGURES` that runs have recorded, with CSVs of their numbers and the runs' table.

    Raises:
        UsageError: If some of the runs have classes, and some have none.
    """
    labels, title, files = naming.labels(runs), naming.title(runs), []
    without = [name for name, run in zip(labels, runs, strict=True) if not run.has(ACCURACY)]
    if 0 < len(without) < len(runs):
        raise UsageError(f"{without[0]} has not recorded {ACCURACY}, which other runs have: plot them apart")
    for figure in names:
        x, ys = FIGURES[figure]
        lines = {y: [curve(run, x, y) for run in runs] for y in ys}
        lines = {y: by_run for y, by_run in lines.items() if any(line.seeds.any() for line in by_run)}
        if lines:
            panels = [
                Panel(QUANTITIES[x], QUANTITIES[y], by_run, [target(run, y) for run in runs])
                for y, by_run in lines.items()
            ]
            stem = out / figure
            files += drawing.save(lambda panels=panels: drawing.draw(panels, labels, title), stem, kinds)
            files.append(_write_lines(x, lines, labels, stem.with_suffix(".csv")))
    return [*files, tables.write_table(tables.summaries(runs), out / "summary.csv")]


def curve(run: Run, x: str, y: str) -> Curve:
    """Means over the seeds that have recorded a round; a logarithmic x axis starts after 0."""
    rounds = np.unique(np.concatenate([seed["round"] for seed in run.seeds]))
    xs, ys = _by_seed(run, x, rounds), _by_seed(run, y, rounds)
    there = np.isfinite(xs) & np.isfinite(ys)
    if QUANTITIES[x].scale == "log":
        there &= xs > 0
    seeds = there.sum(axis=0)

    def where_any(values: np.ndarray) -> np.ndarray:
        return np.where(seeds > 0, values, np.nan)

    xs, ys = np.where(there, xs, 0), np.where(there, ys, 0)
    return Curve(
        rounds,
        where_any(xs.sum(axis=0) / np.maximum(seeds, 1)),
        where_any(ys.sum(axis=0) / np.maximum(seeds, 1)),
        where_any(ys.min(axis=0, where=there, initial=np.inf)),
        where_any(ys.max(axis=0, where=there, initial=-np.inf)),
        seeds,
    )


def _by_seed(run: Run, key: str, rounds: np.ndarray) -> np.ndarray:
    """[seeds, rounds], NaN where a seed has no row for the round, or no such column."""
    values = np.full((len(run.seeds), len(rounds)), np.nan)
    for row, seed in zip(values, run.seeds, strict=True):
        if key in seed:
            row[np.searchsorted(rounds, seed["round"])] = seed[key]
    return values


def target(run: Run, y: str) -> float | None:
    """The density that the algorithm's sparsity asks for, in panels where that can be meant."""
    sparsity = run.options.get("sparsity")
    return 1 - sparsity if y in TARGETED and isinstance(sparsity, int | float) else None


def _write_lines(x: str, lines: Mapping[str, Sequence[Curve]], names: Sequence[str], file: Path) -> Path:
    """A row for each run and round: x where that is another quantity, then mean, range and seeds of each y."""
    statistics = ("mean", "min", "max", "seeds")
    header = ["run", "round", *([] if x == "round" else [f"{x}_mean"])]
    header += [f"{y}_{statistic}" for y in lines for statistic in statistics]
    rows = []
    for name, *panels in zip(names, *lines.values(), strict=True):
        for i in np.flatnonzero(np.any([line.seeds for line in panels], axis=0)):
            first = panels[0]
            place = [first.rounds[i], *([] if x == "round" else [first.x[i]])]
            values = [column[i] for line in panels for column in (line.y, line.low, line.high, line.seeds)]
            rows.append([name, *place, *values])
    return tables.write_csv(file, header, rows)
