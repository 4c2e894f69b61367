"""The runs behind a figure: what each is called in it, at which scale it is run, and what came of it. No JAX here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fedjax_sparse.config import comparison, run_config
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.errors import UsageError
from fedjax_sparse.results import comparison_table, statistics, tables
from fedjax_sparse.results.comparison_table import Outcome
from fedjax_sparse.results.reading import ACCURACY, Run
from fedjax_sparse.results.statistics import Estimate, paired

Scale = Literal["smoke", "cpu", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "cpu", "paper")
# What does not change what is learnt, so that a run is the same run without it.
_ELSEWHERE = ("machine", "records")
_PLACES = ("data_dir", "cache_dir")


def options_of(path: Path, scale: Scale) -> dict[str, Any]:
    """Options of a run that a TOML file states, by name, without those of its algorithm.

    At the paper's scale a file that states no number of seeds has three, so that differences have a margin: as many as
    the authors of SparsyFed and of SalientGrads; of the others' papers the number is not known, or one.

    Raises:
        UsageError: The file cannot be read, or states something that is no option.
    """
    repeated = {"seeds": 3} if scale == "paper" else {}
    try:
        return repeated | run_config.options_of_run(run_config.read(path))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


class Settings(NamedTuple):
    """The TOML file that states what all runs of a figure share, at each scale."""

    smoke: Path
    cpu: Path
    paper: Path

    def options(self, scale: Scale) -> dict[str, Any]:
        """Options of a run, see `options_of`."""
        return options_of(getattr(self, scale), scale)

    def hyper(self, scale: Scale) -> dict[str, Any]:
        """Hyper-parameters of the file's algorithm, by name."""
        return run_config.algorithm_of(run_config.read(getattr(self, scale)))[1]


class Case(NamedTuple):
    """One run of a figure.

    Attributes:
        series: The line that it belongs to, as the legend has it.
        config: What is run; its folder follows from it, so that figures share runs.
        panel: The panel that it belongs to; empty where there is one.
        at: Where it stands on the x axis of a sweep; None for a run that is drawn across all of it.
    """

    series: str
    config: RunConfig
    panel: str = ""
    at: float | None = None

    @property
    def folder(self) -> str:
        """The same for all cases that ask for the same run, and only for those.

        Options that are at their defaults do not matter, so that a later one changes no folder.
        """
        values, usual = (
            run_config.values(self.config),
            run_config.values(run_config.configure(self.config.algorithm)),
        )
        matters = {
            name: value
            for name, value in values.items()
            if value != usual[name] and run_config.HOMES.get(name) not in _ELSEWHERE and name not in _PLACES
        }
        text = json.dumps([self.config.algorithm, matters], sort_keys=True)
        plain = re.sub(r"[^a-z0-9]+", "-", f"{self.config.algorithm}-{self.config.data.dataset}".lower())
        return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def case(
    series: str,
    algorithm: str,
    options: Mapping[str, Any],
    *,
    panel: str = "",
    at: float | None = None,
    **own: Any,
) -> Case:
    """A case from the options that all runs share and those of its own, which win.

    Raises:
        UsageError: They are no configuration.
    """
    values = run_config.without_rivals(options, own) | own
    return Case(series, run_config.configure(algorithm, **values), panel, at)


def tuned(one: Case, winners: Mapping[str, Mapping[str, Any]], searched: Iterable[str]) -> Case:
    """A case with what won a sweep for its algorithm.

    Args:
        one: The case.
        winners: Algorithm -> option -> value, as in the winners.toml of `fedjax-sparse sweep`.
        searched: Options that were searched; all others are the case's own, as the sparsity is.

    Raises:
        UsageError: Its algorithm has no winner.
    """
    algorithm = one.config.algorithm
    if algorithm not in winners:
        raise UsageError(
            f"no winner for {algorithm}, which {_place(one)} needs; there are {', '.join(winners)}"
        )
    won = {name: value for name, value in winners[algorithm].items() if name in searched}
    own = {name: won.pop(name) for name in [*won] if name not in run_config.HOMES}
    config = run_config.changed(one.config, **won)
    return one._replace(config=dataclasses.replace(config, hyper=dataclasses.replace(config.hyper, **own)))


# Algorithms without --sparsity: what they have in its place.
DENSITIES = {"prunefl": "max_density", "sub-fedavg": "target_density"}


def pruned(series: str, algorithm: str, options: Mapping[str, Any], sparsity: float, **more: Any) -> Case:
    """A case, see `case`, of an algorithm that is told to reach a sparsity, by whichever of its options says so."""
    density = DENSITIES.get(algorithm)
    told = {"sparsity": sparsity} if density is None else {density: round(1 - sparsity, 9)}
    return case(series, algorithm, options, **told, **more)


class Result(NamedTuple):
    """A case and what came of it."""

    case: Case
    outcome: Outcome

    @property
    def run(self) -> Run:
        """All that was recorded."""
        if self.outcome.run is None:
            raise UsageError(f"{self.case.folder} has recorded nothing")
        return self.outcome.run


class Results(NamedTuple):
    """What came of all cases.

    Attributes:
        found: Of the cases that have recorded something.
        missing: Of the others, and of those that did not finish: what, and why.
    """

    found: Sequence[Result]
    missing: Sequence[str]

    def of(self, series: str, panel: str = "", at: float | None = None) -> Result | None:
        """The result of this place; a run without a place of its own is found at all places."""
        for result in self.found:
            if result.case.series == series and result.case.panel == panel and result.case.at in (None, at):
                return result
        return None

    def scores(
        self, series: str, panel: str = "", at: float | None = None, *, column: str = ACCURACY, last: int = 10
    ) -> dict[int, float]:
        """Seed -> mean of a column over the recorded rounds among the last so many, of the seeds that finished."""
        result = self.of(series, panel, at)
        seeds = result.outcome.seeds if result else {}
        return {seed: tables.late_mean(columns, column, last) for seed, columns in seeds.items()}

    def difference(
        self, series: str, other: str, panel: str = "", at: float | None = None, **of: Any
    ) -> Estimate:
        """Mean over seeds of `scores` of one series less those of another, seed by seed; NaN where one is missing."""
        return paired(self.scores(series, panel, at, **of), self.scores(other, panel, at, **of))

    def mean(self, series: str, panel: str = "", at: float | None = None, **of: Any) -> float:
        """Mean over seeds of `scores`; NaN where there is none."""
        scores = [*self.scores(series, panel, at, **of).values()]
        return float(np.mean(scores)) if scores else np.nan

    def only(self, panel: str) -> Results:
        """The results of one panel."""
        return self._replace(found=[result for result in self.found if result.case.panel == panel])

    def costs_to_reach(
        self, series: str, target: float, column: str, panel: str = "", at: float | None = None
    ) -> dict[int, float]:
        """Seed -> a cost at the first evaluation with a test accuracy, NaN where that is not reached."""
        result = self.of(series, panel, at)
        seeds = result.outcome.seeds if result else {}
        return {
            seed: statistics.cost_to_reach(columns[ACCURACY], columns[column], target, lower_is_better=False)
            for seed, columns in seeds.items()
        }

    def cost_to_reach(
        self, series: str, target: float, column: str, panel: str = "", at: float | None = None
    ) -> float:
        """Mean over seeds of `costs_to_reach`; NaN unless every seed reaches it."""
        costs = [*self.costs_to_reach(series, target, column, panel, at).values()]
        return float(np.mean(costs)) if costs else np.nan

    def panels(self) -> list[str]:
        """In the order of the cases."""
        return [*dict.fromkeys(result.case.panel for result in self.found)]

    def by_series(self, panel: str) -> dict[str, list[Result]]:
        """The results of a panel, series by series."""
        grouped: dict[str, list[Result]] = {}
        for result in self.found:
            if result.case.panel == panel:
                grouped.setdefault(result.case.series, []).append(result)
        return grouped

    def placed(self, of: Callable[[Result], float | None]) -> Results:
        """The same with each case that has a place standing where its result says, such as at what it measured."""

        def one(result: Result) -> Result:
            case = result.case
            return result if case.at is None else result._replace(case=case._replace(at=of(result)))

        return self._replace(found=[one(result) for result in self.found])

    def with_column(self, name: str, of: Callable[[Mapping[str, np.ndarray], Case], np.ndarray]) -> Results:
        """The same with one more column, of the columns of each seed (name -> f64[rows]) and its case -> f64[rows]."""

        def one(result: Result) -> Result:
            def more(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
                return {**columns, name: of(columns, result.case)}

            run, outcome = result.run, result.outcome
            return result._replace(
                outcome=outcome._replace(
                    run=run._replace(seeds=[more(seed) for seed in run.seeds]),
                    seeds={seed: more(columns) for seed, columns in outcome.seeds.items()},
                )
            )

        return self._replace(found=[one(result) for result in self.found])


def check(cases: Sequence[Case]) -> None:
    """Checks that cases can be drawn together.

    Raises:
        UsageError: There is none, two have the same place, or a panel mixes data sets.
    """
    if not cases:
        raise UsageError("a figure needs one case at least")
    seen: dict[tuple[str, str, float | None], Case] = {}
    data: dict[str, str] = {}
    for one in cases:
        place = (one.panel, one.series, one.at)
        if place in seen:
            raise UsageError(
                f"two cases have the same place: panel {place[0]!r}, series {place[1]!r}, at {place[2]}"
            )
        seen[place] = one
        first = data.setdefault(one.panel, one.config.data.dataset)
        if first != one.config.data.dataset:
            raise UsageError(
                f"panel {one.panel!r} mixes data sets, {first} and {one.config.data.dataset}: "
                "their curves do not compare"
            )


def results(cases: Sequence[Case], runs: Path, failures: Mapping[str, str]) -> Results:
    """Reads what came of the cases.

    Args:
        cases: In the order of the legend.
        runs: The folder of their folders.
        failures: Folder -> why it failed.

    Raises:
        RunError: Records are damaged.
    """
    found, missing = [], []
    for one in cases:
        named = comparison.Case(one.folder, None, one.config)
        outcome = comparison_table.read(named, runs / one.folder, failures.get(one.folder))
        if outcome.run is not None:
            found.append(Result(one, outcome))
        if outcome.faults or outcome.run is None:
            missing.append(f"{_place(one)}: {'; '.join(outcome.faults) or 'nothing was recorded'}")
    return Results(found, missing)


def _place(one: Case) -> str:
    return ", ".join(filter(None, [one.series, one.panel, "" if one.at is None else f"at {one.at:g}"]))


def distinct(cases: Iterable[Case]) -> dict[str, RunConfig]:
    """Folder -> configuration, each once, however many figures ask for it."""
    return {one.folder: one.config for one in cases}
