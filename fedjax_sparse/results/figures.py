"""Figures from run folders. Reads files only: no JAX, and no matplotlib before something is drawn.

Several seeds of a run are drawn as their mean, in a band from the smallest to the largest; the number of seeds behind
each point is in the CSV beside the figure (a seed that diverged stops early). The same folders give the same bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from fedjax_sparse.errors import UsageError
from fedjax_sparse.records.run_folder import CLIENTS
from fedjax_sparse.results import reading
from fedjax_sparse.results.reading import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Quantity(NamedTuple):
    """What an axis shows.

    Attributes:
        label: The axis label.
        unit: `%` for fractions; ticks of bytes `B` and of FLOPs have SI prefixes; empty for plain numbers.
        scale: `wide` is logarithmic where a linear axis would hide the small values, else linear.
    """

    label: str
    unit: Literal["", "%", "B", "FLOP"] = ""
    scale: Literal["linear", "integer", "log", "wide"] = "linear"


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

# Okabe and Ito's colours, distinct with any colour vision, without yellow (faint on white); line styles differ too.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINE_STYLES = ["-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1))]
MOST_CLIENTS_BY_ID = 50  # more are sorted, so that the eye finds an order
STYLE = {
    "font.size": 10,
    "figure.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
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
    summaries = [reading.summarize(run, label) for run, label in zip(runs, reading.labels(runs), strict=True)]
    partitions = {run.clients: run for run in runs if run.clients}
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = curves(runs, out)
        for number, run in enumerate(partitions.values(), start=1):
            files += clients(run, out, "clients" if len(partitions) == 1 else f"clients_{number}")
        files.append(reading.write_table(summaries, out / "summary.csv"))
    except OSError as error:
        raise UsageError(f"cannot write figures to {out}: {error.strerror}") from error
    print(reading.format_table(summaries))
    return files


class Curve(NamedTuple):
    """One line, each field [rounds]: means over seeds, the smallest and largest y, and how many seeds there are."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


def curves(runs: Sequence[Run], out: Path) -> list[Path]:
    """Draws those of `FIGURES` that the runs have recorded, each with the CSV of its numbers."""
    names, files = reading.labels(runs), []
    for figure, panels in FIGURES.items():
        filled = [[panel for panel in panels if run.has(panel[0]) and run.has(panel[1])] for run in runs]
        most = max(filled, key=len)
        for name, own in zip(names, filled, strict=True):
            if own != most:
                missing = ", ".join(y for x, y in most if (x, y) not in own)
                raise UsageError(f"{name} has not recorded {missing}, which other runs have: plot them apart")
        lines = {panel: [curve(run, *panel) for run in runs] for panel in most}
        if any(len(line.x) for by_run in lines.values() for line in by_run):
            files += _save(lambda lines=lines: _draw_panels(lines, names, _title(runs)), out / figure)
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
    return reading.write_csv(file, header, rows)


def _title(runs: Sequence[Run]) -> str:
    """The data set, where it is common, and what the bands mean."""
    datasets = {str(run.config.get("dataset", "")) for run in runs}
    counts = sorted({len(run.seeds) for run in runs})
    parts = [*datasets] if len(datasets) == 1 else []
    if counts[-1] > 1:
        parts.append(f"mean and range of {' or '.join(map(str, counts))} seeds")
    return ", ".join(filter(None, parts))


def _draw_panels(
    lines: Mapping[tuple[str, str], Sequence[Curve]], names: Sequence[str], title: str
) -> Figure:
    figure = _new_figure(5.2 * len(lines) + 0.4, 3.9)
    panels = figure.subplots(1, len(lines), squeeze=False)[0]
    for axes, ((x, y), by_run) in zip(panels, lines.items(), strict=True):
        for number, (name, line) in enumerate(zip(names, by_run, strict=True)):
            _draw_curve(axes, line, name, number)
        _set_axis(axes, "x", QUANTITIES[x], np.concatenate([line.x for line in by_run]))
        _set_axis(axes, "y", QUANTITIES[y], np.concatenate([line.low for line in by_run]))
    figure.suptitle(title)
    columns = 3 if max(map(len, names)) < 24 else 2
    handles = panels[0].get_legend_handles_labels()[0]
    figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)), handlelength=3)
    return figure


def _draw_curve(axes: Axes, line: Curve, name: str, number: int) -> None:
    color, style = COLORS[number % len(COLORS)], LINE_STYLES[number % len(LINE_STYLES)]
    marker = "o" if len(line.x) <= 12 else ""
    axes.plot(line.x, line.y, color=color, linestyle=style, marker=marker, markersize=3.5, label=name)
    if line.seeds.max(initial=0) > 1:
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)


def _set_axis(axes: Axes, side: Literal["x", "y"], quantity: Quantity, values: np.ndarray) -> None:
    """Label, scale, and ticks in the quantity's unit."""
    from matplotlib import ticker

    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_label_text(f"{quantity.label} (%)" if quantity.unit == "%" else quantity.label)
    low, high = values.min(), values.max()
    if quantity.scale == "log" or (quantity.scale == "wide" and 0 < 30 * low < high):
        axes.set(**{f"{side}scale": "log"})
        axis.set_major_locator(ticker.LogLocator(subs=_ticks_per_decade(high / low)))
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_major_formatter("{x:g}")
    elif quantity.scale == "integer":
        axis.set_major_locator(ticker.MaxNLocator(integer=True))
    if quantity.unit == "%":
        axis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    elif quantity.unit:
        axis.set_major_formatter(ticker.EngFormatter("" if quantity.unit == "FLOP" else quantity.unit))


def _ticks_per_decade(ratio: float) -> tuple[float, ...]:
    """Where ticks stand, so that a few fit whatever the ratio of the largest to the smallest value."""
    if ratio > 300:
        return (1,)
    return (1, 2, 5) if ratio > 8 else (1, 1.5, 2, 3, 5, 7)


def clients(run: Run, out: Path, name: str = "clients") -> list[Path]:
    """Draws who holds what: examples of each client, and below them the share of each class.

    Few clients stand in the order of their ids, many are sorted by their most frequent class.

    Raises:
        UsageError: If the run has no `clients.csv` (columns client, examples, class_0, class_1, ...).
    """
    header, *rows = csv.reader(io.StringIO(run.clients)) if run.clients else [[]]
    if header[:2] != ["client", "examples"] or not rows:
        raise UsageError(f"{run.folder} has no {CLIENTS} with the columns client, examples, class_0, ...")
    table = np.array(rows, np.int64)
    setting = [str(run.config[key]) for key in ("dataset", "partition") if key in run.config]
    title = ", ".join([*setting, f"{len(rows):,} clients", f"{table[:, 1].sum():,} examples"])
    file = reading.write_csv(out / f"{name}.csv", header, table.tolist())
    return [*_save(lambda: _draw_clients(table[:, 1], table[:, 2:], title), out / name), file]


def _draw_clients(examples: np.ndarray, classes: np.ndarray, title: str) -> Figure:
    """`examples` [N], `classes` [N, K]; without classes (K = 0) there is only the upper panel."""
    from matplotlib import colors, ticker

    many, order = len(examples) > MOST_CLIENTS_BY_ID, np.arange(len(examples))
    if many:
        order = np.lexsort((-examples, classes.argmax(axis=1))) if classes.size else np.argsort(-examples)
    figure = _new_figure(7.0, 4.6 if classes.size else 2.6)
    figure.suptitle(title)
    heights = [1, 2.2] if classes.size else [1]
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    edges = np.arange(len(order) + 1) - 0.5
    panels[0].stairs(examples[order], edges, fill=True, color=COLORS[0])
    panels[0].set(ylabel="Examples", xlim=edges[[0, -1]])
    panels[0].grid(axis="x", visible=False)
    panels[0].yaxis.set_major_formatter("{x:,.0f}")
    if classes.size:
        share = 100 * classes[order] / np.maximum(examples[order, None], 1)
        norm = colors.PowerNorm(0.5, 0, 100)  # so that small shares differ from none
        image = panels[1].imshow(share.T, aspect="auto", cmap="Blues", norm=norm, interpolation="nearest")
        panels[1].set(ylabel="Class")
        panels[1].grid(visible=False)
        panels[1].yaxis.set_major_locator(ticker.MaxNLocator(nbins=10, integer=True))
        figure.colorbar(image, ax=panels[1], label="Share of the client (%)", ticks=[0, 5, 20, 50, 100])
    panels[-1].xaxis.set_major_locator(ticker.MaxNLocator(nbins=12, integer=True))
    kind = "most frequent class" if classes.size else "size"
    panels[-1].set(xlabel=f"Clients, sorted by {kind}" if many else "Client")
    return figure


def _new_figure(width: float, height: float) -> Figure:
    """A figure apart from pyplot and from any window; `savefig` picks Agg for PNG."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _save(draw: Callable[[], Figure], stem: Path) -> list[Path]:
    """Draws in our style over matplotlib's defaults (not the user's), as PNG and PDF without time stamps."""
    import matplotlib.style

    files = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.pdf")]
    with matplotlib.style.context(["default", STYLE]):
        figure = draw()
        figure.savefig(files[0], metadata={"Software": None})
        figure.set_layout_engine("none")  # it stands already
        figure.savefig(files[1], metadata={"CreationDate": None})
    return files
