"""Published numbers with their source, and ours beside them. No JAX here.

A file holds tables by name:

    [accuracy]
    source = "who printed these numbers, where and when"
    quantity = "global_test_accuracy"       # the column of our records that answers
    unit = "%"                              # of y: % or none
    tolerance = 3                           # in that unit: what is nearer counts as the same
    note = "what to know before comparing"

    [accuracy.setting]                      # what they were measured in, as options of a run or of its algorithm
    dataset = "cifar10"
    rounds = 700

    [[accuracy.lines]]
    panel = "Dirichlet 0.1"                 # as our figure calls it; may be left out
    series = "SparsyFed"
    x = [0.9, 0.95]
    y = [75.0, 75.95]                       # nan where the place is known and the number is not
    deviation = [2.8, 3.4]                  # where it is known
    quantity = "best_test_accuracy"         # where it is not the table's
    setting = { alpha = 0.1 }               # beside that of the table

Totals, such as bytes, are compared over as many rounds alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_sparse import errors
from fedjax_sparse.config import registry, run_config
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.reproduction.cases import Result, Results
from fedjax_sparse.reproduction.charts import Point
from fedjax_sparse.results.reading import SECONDS

_OF_TABLE = {
    "source": str,
    "quantity": str,
    "unit": str,
    "note": str,
    "tolerance": (int, float),
    "setting": dict,
}
_OF_LINE = {
    "panel": str,
    "series": str,
    "quantity": str,
    "x": list,
    "y": list,
    "deviation": list,
    "setting": dict,
}
_UNITS = {"": 1.0, "%": 100.0}
_TOTALS = (
    "communicated_values",
    "communicated_bytes",
    "uplink_bytes",
    "downlink_bytes",
    "flops",
    "flops_dense",
    SECONDS,
)


class Line(NamedTuple):
    """One published line: y f64[n] and its deviation over x f64[n], in fractions; NaN where none is known."""

    panel: str
    series: str
    quantity: str
    x: np.ndarray
    y: np.ndarray
    deviation: np.ndarray
    setting: Mapping[str, Any]


class Table(NamedTuple):
    """A published table or curve; see this module for its fields. `tolerance` is in fractions, too."""

    source: str
    quantity: str
    unit: str
    note: str
    tolerance: float
    lines: Sequence[Line]


class Beside(NamedTuple):
    """A published number beside ours.

    Attributes:
        panel: As in the figure.
        series: As in the figure.
        quantity: The column that answers.
        x: Where both stand.
        published: The number.
        deviation: Over the paper's repetitions; NaN where it is not known.
        ours: What we measured; None where we did not, at this scale or on these data.
        difference: Ours less the published one; NaN where there is none.
        agrees: Whether the difference is within the tolerance or two deviations; None where there is none.
        remark: Why there is no answer.
    """

    panel: str
    series: str
    quantity: str
    x: float
    published: float
    deviation: float
    ours: Point | None
    difference: float
    agrees: bool | None
    remark: str


def read(path: Path, name: str) -> Table:
    """The table of that name in a file of published numbers.

    Raises:
        UsageError: The file cannot be read, has no such table, or the table is not as described above.
    """
    tables = run_config.read(path)
    if name not in tables:
        errors.unknown_name(f"table of {path}", name, tables)
    try:
        return _table(tables[name])
    except errors.UsageError as error:
        raise errors.UsageError(f"{path}: [{name}]: {error}") from None


def _table(stated: Mapping[str, Any]) -> Table:
    lines = stated.get("lines", [])
    _check({key: value for key, value in stated.items() if key != "lines"}, _OF_TABLE, ["source", "quantity"])
    scale = _UNITS.get(stated.get("unit", ""))
    if scale is None:
        errors.unknown_name("unit", stated["unit"], filter(None, _UNITS))
    if not lines:
        raise errors.UsageError("it has no [[lines]]")
    setting = stated.get("setting", {})
    return Table(
        stated["source"],
        stated["quantity"],
        stated.get("unit", ""),
        stated.get("note", ""),
        stated.get("tolerance", 0) / scale,
        [_line({"quantity": stated["quantity"]} | line, setting, scale) for line in lines],
    )


def _line(stated: Mapping[str, Any], setting: Mapping[str, Any], scale: float) -> Line:
    _check(stated, _OF_LINE, ["series", "x", "y"])
    unknown = [float("nan")] * len(stated["y"])
    x, y, deviation = (
        np.array(values, np.float64)
        for values in (stated["x"], stated["y"], stated.get("deviation", unknown))
    )
    if not len(x) == len(y) == len(deviation):
        raise errors.UsageError(
            f"line {stated['series']!r} has {len(x)} x, {len(y)} y and {len(deviation)} deviations; as many of each"
        )
    own = {**setting, **stated.get("setting", {})}
    for name in own:
        if name not in _options():
            errors.unknown_name("option in setting", name, _options())
    return Line(
        stated.get("panel", ""), stated["series"], stated["quantity"], x, y / scale, deviation / scale, own
    )


@functools.cache
def _options() -> frozenset[str]:
    """The names of all options, of runs and of algorithms."""
    cards = registry.algorithms().values()
    own = {option.name for card in cards for option in declared_options(card.hyperparameters)}
    return frozenset(own.union(run_config.HOMES))


def _check(stated: Any, kinds: Mapping[str, Any], needed: Sequence[str]) -> None:
    if not isinstance(stated, Mapping):
        raise errors.UsageError(f"{stated!r} is no table")
    for name, value in stated.items():
        if name not in kinds:
            errors.unknown_name("key", name, kinds)
        if not isinstance(value, kinds[name]):
            raise errors.UsageError(f"{name} = {value!r} is not valid")
    for name in needed:
        if name not in stated:
            raise errors.UsageError(f"it has no {name}")


def beside(table: Table, points: Sequence[Point], results: Results) -> list[Beside]:
    """Every published number, with ours at the same place if we have one that answers the same question."""
    ours = {(p.panel, p.series, p.quantity, _rounded(p.x)): p for p in points}
    rows = []
    for line in table.lines:
        apart = _apart(line, results.by_series(line.panel).get(line.series, []))
        for x, y, deviation in zip(line.x, line.y, line.deviation, strict=True):
            point = ours.get((line.panel, line.series, line.quantity, _rounded(x)))
            place = (line.panel, line.series, line.quantity, float(x), float(y), float(deviation))
            if point is None:
                rows.append(Beside(*place, None, np.nan, None, "not run at this scale"))
            elif apart:
                rows.append(Beside(*place, None, np.nan, None, apart))
            elif np.isnan(y):
                rows.append(Beside(*place, point, np.nan, None, "no published value"))
            else:
                difference = point.mean - float(y)
                within = max(table.tolerance, 2 * np.nan_to_num(deviation))
                rows.append(Beside(*place, point, difference, bool(abs(difference) <= within), ""))
    return rows


def _apart(line: Line, runs: Sequence[Result]) -> str:
    """Why our runs do not answer the question of a published line: other data, or a total over other rounds."""
    for config in (result.case.config for result in runs):
        dataset, rounds = config.data.dataset, config.training.rounds
        if line.setting.get("dataset", dataset) != dataset:
            return f"run on {dataset} here"
        theirs = line.setting.get("rounds", rounds)
        if line.quantity in _TOTALS and theirs != rounds:
            return f"a total over {rounds} rounds here, {theirs} there"
    return ""


def differences(table: Table, results: Results) -> list[str]:
    """In what our runs are set otherwise than the published ones, in words: option, ours, theirs.

    Of a setting only what is an option of a run's algorithm is asked of it: dense training sends no share of entries.
    """
    found: dict[str, None] = {}
    for line in table.lines:
        for result in results.by_series(line.panel).get(line.series, []):
            values = run_config.values(result.case.config)
            for name, theirs in line.setting.items():
                if values.get(name, theirs) != theirs:
                    found[f"{name.replace('_', ' ')}: {values[name]} here, {theirs} there"] = None
    return [*found]


def shown(value: float, table: Table, digits: int = 4, sign: str = "") -> str:
    """A number of the table in its unit, with its sign if that is +; empty where it is NaN."""
    scaled = _UNITS[table.unit] * value
    form = ",.0f" if abs(scaled) >= 10**4 else f".{digits}g"
    return "" if np.isnan(value) else f"{scaled:{sign}{form}}"


def _rounded(x: float) -> float:
    return float(f"{x:.9g}")
