"""A sweep: which numbers of which algorithms are searched, and by which rule they win; to and from TOML. No JAX here.

    [sweep]
    algorithms = ["fedavg", "fedadam", "sparsyfed"]
    sparsity = 0.95

    [grid]                    # every combination; an algorithm has those of them that it has an option for
    client_lr = [0.03, 0.1, 0.3]

    [training]                # and the other sections of a run: the same for all
    rounds = 30

    [algorithm.fedadam]       # of one alone, as in a comparison
    tau = 0.01

Every setting trains under the same conditions: data, partition, cohorts, rounds and seeds. What is tested on is held
out of the training examples, the same ones for all; the test set is never looked at.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fedjax_sparse import errors
from fedjax_sparse.config import registry, run_config, several
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import (
    AT_LEAST_ONE,
    SPARSITY,
    Option,
    Range,
    declared_options,
    option,
)
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.config.several import Several

KIND = "sweep"  # its table in a file
FILE = "sweep.toml"  # in the folder of a sweep
WINNERS = "winners.toml"  # likewise
GRID = Option(
    "grid",
    str,
    "none",
    "what is searched, as in client-lr=0.03,0.1,0.3/server-lr=0.5,1: every combination of those that an algorithm has",
    None,
    None,
)

Grid = Mapping[str, Sequence[Any]]


class Trial(NamedTuple):
    """One setting of one algorithm.

    Attributes:
        algorithm: Its name.
        values: What is searched: option -> value.
        config: Of its run, with all seeds.
    """

    algorithm: str
    values: Mapping[str, Any]
    config: RunConfig


@dataclasses.dataclass(frozen=True)
class Sweep(Several):
    """What is searched.

    Attributes:
        grid: Option -> the values to try.

    Raises:
        UsageError: Names that are unknown or named twice, or values that are not allowed.
    """

    grid: Grid = dataclasses.field(default_factory=dict)
    sparsity: float | None = option(
        None, "fraction of zeros at which every algorithm that has --sparsity is tuned", allowed=SPARSITY
    )
    validation: float = option(
        0.1,
        "share of the training examples that is held out, before the others are dealt to clients, to test on",
        allowed=Range(0, 1, low_open=True, high_open=True),
    )
    last: int = option(
        10, "what counts is the mean over the tests among the last so many rounds", allowed=AT_LEAST_ONE
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.grid:
            raise errors.UsageError("name what is searched, as in --grid client-lr=0.03,0.1,0.3")
        for name, values in self.grid.items():
            self._check_searched(name)
            several.check_once(f"--grid: {name}", values)
            if not values:
                raise errors.UsageError(f"--grid: {name} has no values; allowed: at least one")
        if self.shared.get("state_store", "device") != "device":
            raise errors.UsageError(
                "a sweep keeps the states of clients on the device; leave out --state-store"
            )

    def _check_searched(self, name: str) -> None:
        known = {o.name for algorithm in self.algorithms for o in _options(registry.entry(algorithm))}
        if name in run_config.HOMES and not several.is_own(name):
            raise errors.UsageError(
                f"--grid: {name} is a condition that all share; allowed: options of algorithms, "
                f"and all of [training] and [server] but the rounds"
            )
        if name not in known:
            errors.unknown_name("option of --grid", name, known)
        if name == "sparsity":
            raise errors.UsageError(
                "--grid: sparsity is what is asked for, not what is tuned; state --sparsity"
            )

    def trials(self) -> dict[str, list[Trial]]:
        """The settings of each algorithm.

        Raises:
            UsageError: A run cannot be configured as it is asked for, or there are more than `several.MOST_RUNS`.
        """
        grids = {name: self._grid_of(registry.entry(name)) for name in self.algorithms}
        count = sum(math.prod(map(len, grid.values())) for grid in grids.values())
        first, grid = next(iter(grids.items()))
        seeds = self._trial(first, {name: values[0] for name, values in grid.items()}).config.run.seeds
        several.check_count(count, seeds, KIND)  # before all are made
        return {
            name: [
                self._trial(name, dict(zip(grid, values, strict=True)))
                for values in itertools.product(*grid.values())
            ]
            for name, grid in grids.items()
        }

    def _grid_of(self, entry: Entry) -> Grid:
        """What is searched of one algorithm: the options that it has and that have an effect."""
        known = {o.name for o in _options(entry)} - {*entry.unused}
        grid = {name: values for name, values in self.grid.items() if name in known}
        if not grid:
            raise errors.UsageError(
                f"--grid searches {', '.join(self.grid)}, of which {entry.name} has none; leave it out"
            )
        return grid

    def _trial(self, algorithm: str, values: Mapping[str, Any]) -> Trial:
        sparse = self.sparsity is not None and several.has_sparsity(registry.entry(algorithm))
        try:
            config = self.configure(algorithm, **({"sparsity": self.sparsity} if sparse else {}), **values)
        except errors.UsageError as error:
            raise errors.UsageError(f"{algorithm}: {error}") from None
        resolved = run_config.values(config)
        return Trial(algorithm, {name: resolved[name] for name in values}, config)


def to_toml_dict(sweep: Sweep) -> dict[str, Any]:
    """The sweep as tables of a TOML file; what is None is left out."""
    head = {o.name: getattr(sweep, o.name) for o in declared_options(Sweep)}
    tables = several.to_toml_dict(KIND, head, sweep)
    return {
        KIND: tables.pop(KIND),
        "grid": {name: [*values] for name, values in sweep.grid.items()},
        **tables,
    }


def values_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Sweep` that a file's tables state.

    Raises:
        UsageError: The file is no sweep.
    """
    grid = table.get("grid", {})
    if not isinstance(grid, Mapping):
        raise errors.UsageError(f"grid = {grid!r} is not valid; allowed: a table [grid]")
    rest = {key: value for key, value in table.items() if key != "grid"}
    found = several.values_of(KIND, rest, [o.name for o in declared_options(Sweep)])
    lists = {name: several.list_of(name, values, int | float | str) for name, values in grid.items()}
    return found | ({"grid": lists} if lists else {})


def grid_of(text: str) -> dict[str, tuple[Any, ...]]:
    """The grid of a text such as client-lr=0.03,0.1/server-lr=0.5,1; empty for `none`.

    Raises:
        UsageError: The text is no grid.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for part in [] if text == "none" else text.split("/"):
        flag, equals, values = part.partition("=")
        name = flag.strip().lstrip("-").replace("-", "_")
        if not (name and equals and values):
            raise errors.UsageError(
                f"--grid = {text!r} is not valid; allowed: options with values, as in client-lr=0.03,0.1/mu=0,0.1"
            )
        several.check_once("option of --grid", [*grid, name])
        grid[name] = tuple(_value(value.strip()) for value in values.split(","))
    return grid


def winners_of(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Algorithm -> what won, of the tables of a sweep's `WINNERS`.

    Raises:
        UsageError: The file is something else.
    """
    own = table.get("algorithm", {})
    if (
        KIND not in table
        or not isinstance(own, Mapping)
        or not all(isinstance(v, Mapping) for v in own.values())
    ):
        raise errors.UsageError(f"this is no {WINNERS} of a sweep, with tables [{KIND}] and [algorithm.NAME]")
    return {name: dict(values) for name, values in own.items()}


def winners_dict(sweep: Sweep, won: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The sweep as tables of a TOML file, in which [algorithm.NAME] has what won, too, where something did."""
    own = {name: {**sweep.own.get(name, {}), **values} for name, values in won.items()}
    tables = to_toml_dict(dataclasses.replace(sweep, own={}))
    return tables | {"algorithm": own}


def _options(entry: Entry) -> list[Option]:
    """What may be another one for each algorithm, and every value of which makes an algorithm of its own."""
    shared = [o for section in several.OWN_SECTIONS for o in declared_options(run_config.SECTIONS[section])]
    return [*declared_options(entry.hyperparameters), *(o for o in shared if several.is_own(o.name))]


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text, text)
