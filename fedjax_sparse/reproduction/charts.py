"""The pictures of a reproduction: sweeps, curves and heat maps, each with the numbers that it shows. No JAX here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedjax_sparse.errors import UsageError
from fedjax_sparse.reproduction.cases import Case, Result, Results
from fedjax_sparse.results import drawing, figures, naming, overlaps, tables
from fedjax_sparse.results.drawing import Curve, Panel, Quantity
from fedjax_sparse.results.figures import QUANTITIES
from fedjax_sparse.results.reading import ACCURACY

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """One number of a figure.

    Attributes:
        panel: Its panel.
        series: Its line.
        quantity: The column that it is the mean of.
        x: Where it stands.
        mean: Over seeds.
        low: The smallest.
        high: The largest.
        seeds: How many there are.
    """

    panel: str
    series: str
    quantity: str
    x: float
    mean: float
    low: float
    high: float
    seeds: int


class Chart(NamedTuple):
    """One panel: what it is called, its axes, the column shown, a line for each series, and what all are to become."""

    panel: str
    x: Quantity
    y: Quantity
    quantity: str
    lines: Mapping[str, Curve]
    target: float | None = None


class Picture(NamedTuple):
    """A figure, drawn when it is asked for, and its numbers."""

    draw: Callable[[], Figure]
    points: Sequence[Point]


def sweep(results: Results, x: Quantity, y: str = ACCURACY, *, last: int = 10) -> list[Chart]:
    """A panel for each panel of the cases: the mean of the last rounds of every run, over where it stands.

    A run that stands nowhere (`Case.at` is None), such as a dense one, is drawn across.

    Args:
        results: Of cases with places.
        x: What the places are.
        y: A column of the records.
        last: The mean is over the recorded rounds among the last so many.
    """
    return [_sweep(panel, results.by_series(panel), x, y, last) for panel in results.panels()]


def _sweep(panel: str, by_series: Mapping[str, Sequence[Result]], x: Quantity, y: str, last: int) -> Chart:
    places = sorted({r.case.at for some in by_series.values() for r in some if r.case.at is not None})
    if not places:
        raise UsageError(f"panel {panel!r} is no sweep: none of its recorded runs has a place on the x axis")
    when = "at the end" if last == 1 else f"last {last} rounds"
    label = f"{_quantity(y).label}, {when}"

    def line(results: Sequence[Result]) -> Curve:
        at = {result.case.at: result for result in results}
        chosen = [at.get(place, at.get(None)) for place in places]
        values = [
            [tables.late_mean(columns, y, last) for columns in result.outcome.seeds.values()]
            if result
            else []
            for result in chosen
        ]
        mean, low, high = (
            np.array([statistic(own) if own else np.nan for own in values], np.float64)
            for statistic in (np.mean, np.min, np.max)
        )
        where = np.array(places)
        seeds = np.array([len(own) for own in values]) * np.isfinite(mean)
        return Curve(where, where, mean, low, high, seeds)

    lines = {series: line(some) for series, some in by_series.items()}
    ticks = x._replace(scale="places") if x.scale == "linear" else x
    return Chart(panel, ticks, _quantity(y)._replace(label=label), y, lines)


def curves(results: Results, x: str, ys: Sequence[str] = (ACCURACY,)) -> list[Chart]:
    """A panel for each panel of the cases and each column of `ys`: the whole course of every run.

    Args:
        results: Of cases of which each series has one in a panel.
        x: A column of the records, such as `round` or `communicated_bytes`.
        ys: Columns; one that no run of a panel has is left out.

    Raises:
        UsageError: A series has several runs in a panel, or no run has any of the columns.
    """
    charts = []
    for panel in results.panels():
        by_series = results.by_series(panel)
        for series, some in by_series.items():
            if len(some) > 1:
                raise UsageError(
                    f"series {series!r} of panel {panel!r} has {len(some)} runs; a curve shows one"
                )
        for y in ys:
            lines = {series: figures.curve(some[0].run, x, y) for series, some in by_series.items()}
            lines = {series: line for series, line in lines.items() if line.seeds.any()}
            if lines:
                charts.append(Chart(panel, _quantity(x), _quantity(y), y, lines))
    if not charts:
        raise UsageError(f"no run has recorded {' or '.join(ys)}")
    return charts


def mask_overlaps(results: Results) -> Picture:
    """Heat maps: of the server's masks by round for every case, then of clients' masks in the first and last round.

    Raises:
        UsageError: No run has kept masks; their cases need `keep_masks=True`.
    """
    of_cases = [
        [
            (result.case, one._replace(title=_named(result.case, one.title)))
            for one in overlaps.of_run(result.run)
        ]
        for result in results.found
    ]
    found = [one for kind in itertools.zip_longest(*of_cases) for one in kind if one]
    if not found:
        raise UsageError("no run has kept masks: their cases need keep_masks=True")
    points = [
        Point(
            case.panel,
            one.title,
            f"iou_with_{b}",
            float(a),
            float(value),
            float(value),
            float(value),
            one.seeds,
        )
        for case, one in found
        for a, values in zip(one.places, one.iou, strict=True)
        for b, value in zip(one.places, values, strict=True)
        if np.isfinite(value)
    ]
    maps, title = [one for _, one in found], naming.title([result.run for result in results.found])
    return Picture(lambda: overlaps.figure(maps, title), points)


def _named(case: Case, title: str) -> str:
    return ", ".join(filter(None, [case.series, case.panel, title]))


def picture(results: Results, charts: Sequence[Chart]) -> Picture:
    """The panels in one figure: a series has the same look in all of them, and one legend."""
    names = [*dict.fromkeys(series for chart in charts for series in chart.lines)]
    nothing = np.full(1, np.nan)
    absent = Curve(nothing, nothing, nothing, nothing, nothing, np.zeros(1, int))
    panels = [
        Panel(
            chart.x,
            chart.y,
            [chart.lines.get(name, absent) for name in names],
            [chart.target] * len(names),
            chart.panel,
        )
        for chart in charts
    ]
    title = naming.title([result.run for result in results.found])
    points = [
        Point(chart.panel, series, chart.quantity, x, y, low, high, int(seeds))
        for chart in charts
        for series, line in chart.lines.items()
        for x, y, low, high, seeds in zip(line.x, line.y, line.low, line.high, line.seeds, strict=True)
        if seeds
    ]
    return Picture(lambda: drawing.draw(panels, names, title), points)


def _quantity(column: str) -> Quantity:
    return QUANTITIES.get(column, Quantity(column))
