"""How curves look: one style for all figures, and axes in the unit of what they show.

No matplotlib before something is drawn, and no window. The same numbers give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

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


class Curve(NamedTuple):
    """One line, each field [rounds]: means over seeds, the smallest and largest y, and how many seeds there are."""

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


# Okabe and Ito's colours, distinct with any colour vision, without yellow (faint on white); line styles differ too.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINE_STYLES = ["-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1))]
KINDS = ("png", "pdf")  # of files; PNG is drawn at a third of the cost of both
UNDATED = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
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


def draw_panels(
    lines: Mapping[tuple[str, str], Sequence[Curve]],
    names: Sequence[str],
    quantities: Mapping[str, Quantity],
    title: str,
) -> Figure:
    """One panel for each pair of quantities, side by side, with a line for each run in all of them."""
    figure = new_figure(5.2 * len(lines) + 0.4, 3.9)
    panels = figure.subplots(1, len(lines), squeeze=False)[0]
    for axes, ((x, y), by_run) in zip(panels, lines.items(), strict=True):
        for number, (name, line) in enumerate(zip(names, by_run, strict=True)):
            _draw_curve(axes, line, name, number)
        _set_axis(axes, "x", quantities[x], np.concatenate([line.x for line in by_run]))
        _set_axis(axes, "y", quantities[y], np.concatenate([line.low for line in by_run]))
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


def new_figure(width: float, height: float) -> Figure:
    """A figure apart from pyplot and from any window; `savefig` picks Agg for PNG."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _matplotlib() -> ModuleType:
    """matplotlib, whatever MPLBACKEND says: a name that it does not know would stop the import."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib.style
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return matplotlib


def save(draw: Callable[[], Figure], stem: Path, kinds: Sequence[str]) -> list[Path]:
    """Draws in our style over matplotlib's defaults (not the user's), as PNG, PDF or both, without time stamps."""
    matplotlib = _matplotlib()
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in kinds]
    with matplotlib.style.context(["default", STYLE]):
        figure = draw()
        for file, kind in zip(files, kinds, strict=True):
            figure.savefig(file, metadata=UNDATED[kind])
            figure.set_layout_engine("none")  # from the first on it stands
    return files
