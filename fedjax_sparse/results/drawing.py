"""How curves look: one style for all figures, and axes in the unit of what they show.

No matplotlib before something is drawn, and no window. The same numbers give the same bytes.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Quantity(NamedTuple):
    """What an axis shows.

    Attributes:
        label: The axis label.
        unit: `%` for fractions; ticks of bytes `B`, of FLOPs and of counted values have SI prefixes, those of seconds
            `s` are written out; empty for plain numbers.
        scale: `wide` is logarithmic where a linear axis would hide the small values, else linear; `log` has a place for
            zeros, below the smallest value, where there are any; `zero` is linear from zero; `rounds` has its ticks
            where models were evaluated, and `places` where runs stand.
    """

    label: str
    unit: Literal["", "%", "B", "FLOP", "values", "s"] = ""
    scale: Literal["linear", "rounds", "places", "log", "wide", "zero"] = "linear"


class Curve(NamedTuple):
    """One line, each field [rounds]: means over seeds, the smallest and largest y, and how many seeds there are.

    Where there are none, x and y are NaN.
    """

    rounds: np.ndarray
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


class Panel(NamedTuple):
    """Two quantities, a line for each run, what each run wants y to become (None: nothing), and a title, if any."""

    x: Quantity
    y: Quantity
    lines: Sequence[Curve]
    targets: Sequence[float | None]
    title: str = ""


# Okabe and Ito's colours, distinct with any colour vision, without yellow (faint on white); line styles and markers
# differ too, for those who print in grey. There are 7, 5 and 11 of them: no two of 35 lines share more than one.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
LINE_STYLES = ["-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1))]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*", "<", "d", ">"]
TARGET: dict[str, Any] = {"linestyle": ":", "linewidth": 1.0}
MOST_TICKS = 10
MOST_MARKERS = 25  # on a line
LETTERS = 76  # of a title, above one panel
LETTERS_UP = 28  # of a label beside a panel
APART = 0.08  # of an axis, between two ticks that are written
MOST_DECADES = 5  # that are written out
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
    "hatch.linewidth": 0.6,
}


def draw(panels: Sequence[Panel], names: Sequence[str], title: str) -> Figure:
    """The panels, two abreast; a run has the same look in all of them, and a name below if it has a line in any."""
    from matplotlib.lines import Line2D

    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    drawn = [
        number for number in range(len(names)) if any(panel.lines[number].seeds.any() for panel in panels)
    ]
    keys, names = [Line2D([], [], **_look(number)) for number in drawn], [names[number] for number in drawn]
    if any(target is not None for panel in panels for target in panel.targets):
        keys.append(Line2D([], [], color="#666666", **TARGET))
        names = [*names, "target, by the sparsity asked for"]
    width = 5.2 * columns + 0.4
    abreast = min(max(int(width / (0.75 + 0.075 * max(map(len, names)))), 1), 3, len(names))
    figure = new_figure(width, 3.2 * rows + 0.3 + 0.2 * max(-(-len(names) // abreast), 2))
    places = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axes, panel in zip(places, panels, strict=False):
        _draw_panel(axes, panel)
        axes.set_title(panel.title, fontsize=10)
    for axes in places[len(panels) :]:
        axes.remove()
    figure.suptitle(in_lines(title, LETTERS * columns))
    figure.legend(keys, names, loc="outside lower center", ncols=abreast, handlelength=3)
    return figure


def in_lines(text: str, letters: int) -> str:
    """The text in as few lines as hold at most so many letters, and these as long as each other; words stay whole."""

    def lines(width: int) -> list[str]:
        return textwrap.wrap(text, width, break_long_words=False)

    narrow = next(width for width in range(1, letters + 1) if len(lines(width)) == len(lines(letters)))
    return "\n".join(lines(narrow))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for number, (line, target) in enumerate(zip(panel.lines, panel.targets, strict=True)):
        there, look = line.seeds > 0, _look(number)
        x, y, low, high = (values[there] for values in (line.x, line.y, line.low, line.high))
        axes.plot(x, y, markevery=-(-len(x) // MOST_MARKERS) or 1, **look)
        if line.seeds.max() > 1 and len(x) > 1:
            axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
        elif line.seeds.max() > 1:
            axes.errorbar(x, y, np.maximum([y - low, high - y], 0), color=look["color"], capsize=3)
        if target is not None:
            axes.axhline(target, color=look["color"], **TARGET)
    by_round = panel.x.scale == "rounds"  # then all panels reach from the first evaluation to the last
    xs = [line.rounds if by_round else line.x for line in panel.lines]
    _set_axis(axes, "x", panel.x, np.concatenate(xs))
    _set_axis(axes, "y", panel.y, np.concatenate([line.low for line in panel.lines]))


def _look(number: int) -> dict[str, Any]:
    """Colour, style and markers of the line of one run."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
    }


def _set_axis(axes: Axes, side: Literal["x", "y"], quantity: Quantity, values: np.ndarray) -> None:
    """Label, scale, and ticks in the quantity's unit."""
    from matplotlib import ticker

    axis = axes.xaxis if side == "x" else axes.yaxis
    label = f"{quantity.label} (%)" if quantity.unit == "%" else quantity.label
    axis.set_label_text(label if side == "x" else in_lines(label, LETTERS_UP))
    low, high = np.nanmin(values), np.nanmax(values)
    if quantity.scale == "log" or (quantity.scale == "wide" and 0 < 30 * low < high):
        _set_log(axes, side, values[np.isfinite(values)])
    elif quantity.scale in ("rounds", "places"):
        margin = 0.03 * (high - low) or 0.05 * abs(high) or 0.5
        axes.set(**{f"{side}lim": (low - margin, high + margin)})
        ticks = evaluated(values) if quantity.scale == "rounds" else apart(values)
        axis.set_major_locator(ticker.FixedLocator(ticks.tolist()))
        axis.set_major_formatter("{x:g}")
    elif quantity.scale == "zero":
        axes.set(**{f"{side}lim": (0, None)})
    if quantity.unit == "%":
        axis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    elif quantity.unit == "s":
        axis.set_major_formatter("{x:,.12g}")
    elif quantity.unit:
        axis.set_major_formatter(
            ticker.EngFormatter("" if quantity.unit in ("FLOP", "values") else quantity.unit)
        )


def _set_log(axes: Axes, side: Literal["x", "y"], values: np.ndarray) -> None:
    """A logarithmic axis; where some of the values are zero, it has a place for them below the others."""
    from matplotlib import ticker

    axis = axes.xaxis if side == "x" else axes.yaxis
    high = np.max(values)
    least = np.min(values, where=values > 0, initial=high or 1.0)
    axes.set(**{f"{side}scale": "log"})
    axis.set_major_locator(ticker.LogLocator(subs=_ticks_per_decade(high / least)))
    wide = high / least > 10**MOST_DECADES
    axis.set_major_formatter(ticker.LogFormatterMathtext() if wide else "{x:g}")
    if high > 0 and np.min(values) <= 0:
        lowest = 10 ** np.floor(np.log10(least))
        getattr(axes, f"set_{side}scale")("symlog", linthresh=lowest, linscale=0.5)
        decades = lowest * 10.0 ** np.arange(np.ceil(np.log10(high / lowest)) + 1)
        axis.set_major_locator(ticker.FixedLocator([0, *decades[:: -(-len(decades) // MOST_TICKS)]]))
        axes.set(**{f"{side}lim": (-0.2 * lowest, 1.3 * high)})
    axis.set_minor_locator(ticker.NullLocator())


def apart(places: np.ndarray) -> np.ndarray:
    """Those of the places that can be written below an axis: the last, and from the first on what is not too near."""
    known = np.unique(places[np.isfinite(places)])
    last, kept = known[-1], []
    for place in known[:-1]:
        if all(abs(place - other) >= APART * (last - known[0]) for other in (*kept[-1:], last)):
            kept.append(place)
    return np.array([*kept, last])


def evaluated(rounds: np.ndarray) -> np.ndarray:
    """Rounds in which a model was evaluated, few enough to be ticks: all, every second, fifth, tenth, ..."""
    every = np.unique(rounds[np.isfinite(rounds)])
    steps = (digit * 10**power for power in range(20) for digit in (1, 2, 5))
    return next(chosen for step in steps if len(chosen := every[::step]) <= MOST_TICKS)


def _ticks_per_decade(ratio: float) -> tuple[float, ...]:
    """Where ticks stand, so that a few fit whatever the ratio of the largest to the smallest value."""
    if ratio > 300 or ratio == 1:  # of one value the axis shows a decade on each side
        return (1,)
    if ratio > 50:
        return (1, 3)
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
