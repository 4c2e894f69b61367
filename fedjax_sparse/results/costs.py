"""The figure of what runs cost, in parts: bytes by link, and training beside what the same would be dense."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedjax_sparse.results import naming, tables
from fedjax_sparse.results.drawing import COLORS, KINDS, new_figure, save
from fedjax_sparse.results.reading import Run
from fedjax_sparse.results.tables import Summary, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST_LABEL = 36  # characters of a run's name


class Part(NamedTuple):
    """A piece of a bar: its name in the legend and how it looks; hatches tell them apart in grey."""

    name: str
    color: str
    hatch: str


UP, DOWN = Part("uplink", COLORS[0], ""), Part("downlink", COLORS[5], "///")
LIVE, SPARED = Part("training", COLORS[1], ""), Part("spared by sparsity", "#FFFFFF", "...")


def draw(runs: Sequence[Run], out: Path, name: str = "costs", kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws the costs of the runs together, means over seeds, with their numbers as CSV."""
    lines = tables.summaries(runs)
    columns = ("uplink_bytes", "downlink_bytes", "flops", "flops_dense")
    numbers = {column: np.array([getattr(line, column).mean() for line in lines]) for column in columns}
    header, rows = ["run", *columns], zip(*numbers.values(), strict=True)
    file = write_csv(
        out / f"{name}.csv", header, [[line.run, *own] for line, own in zip(lines, rows, strict=True)]
    )
    title = naming.setting_of(runs)
    return [*save(lambda: _draw(lines, *numbers.values(), title=title), out / name, kinds), file]


def _draw(
    lines: Sequence[Summary],
    up: np.ndarray,
    down: np.ndarray,
    live: np.ndarray,
    dense: np.ndarray,
    *,
    title: str,
) -> Figure:
    from matplotlib.patches import Patch

    figure = new_figure(9.0, 1.9 + 0.42 * len(lines))
    figure.suptitle(title)
    sent, trained = figure.subplots(1, 2, sharey=True)
    names = [textwrap.fill(line.run, LONGEST_LABEL) for line in lines]
    _bars(sent, names, {UP: up, DOWN: down}, "Sent over both links, all clients", "B")
    _bars(
        trained, names, {LIVE: live, SPARED: np.maximum(dense - live, 0)}, "Training FLOPs, all clients", ""
    )
    parts = [UP, DOWN, LIVE, *([SPARED] if np.any(dense > live) else [])]
    keys = [
        Patch(facecolor=part.color, hatch=part.hatch, edgecolor="#333333", label=part.name) for part in parts
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), handlelength=2.5)
    return figure


def _bars(axes: Axes, names: Sequence[str], parts: dict[Part, np.ndarray], label: str, unit: str) -> None:
    """A bar for each run, its parts end to end, and at its end what they are."""
    from matplotlib import ticker

    places, start = np.arange(len(names)), np.zeros(len(names))
    for part, lengths in parts.items():
        look = {"color": part.color, "hatch": part.hatch, "edgecolor": "#333333", "linewidth": 0.6}
        axes.barh(places, lengths, left=start, height=0.62, **look)
        start = start + lengths
    first, *_ = parts.values()
    for place, end, own in zip(places, start, first, strict=True):
        text = tables.si(end, unit) if unit else f"{100 * own / end:.3g} %" if end else ""
        axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(places, names)
    axes.set(xlabel=label, xlim=(0, 1.25 * start.max() or 1), ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, prune="upper"))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(unit))
