"""A comparison of algorithms: which, at which sparsities, and what all have in common; to and from TOML. No JAX here.

    [comparison]
    algorithms = ["fedavg", "fedsparsify-global", "sparsyfed"]
    sparsities = [0.9, 0.95]
    reference = "fedavg"

    [training]                # and the other sections of a run: the same for all
    rounds = 60

    [algorithm.sparsyfed]     # of one alone: its hyper-parameters, local training and server
    client_lr = 0.25

Data, partition, cohorts, rounds and seeds are the same for all, and with them who takes part in a round and the initial
weights. What an algorithm's card sets otherwise, such as a cohort of everyone, it keeps unless that is stated here, and
the table marks it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedjax_sparse import errors
from fedjax_sparse.config import registry, run_config
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import (
    AT_LEAST_ONE,
    SPARSITY,
    Option,
    Options,
    checked,
    declared_options,
    option,
)
from fedjax_sparse.config.run_config import RunConfig

FILE = "comparison.toml"  # in the folder of a comparison
MOST_RUNS = 1000
SPARSITIES = Option(
    "sparsities",
    str,
    "none",
    "fractions of zeros as in 0.8,0.9,0.95, each a run of every algorithm that has --sparsity; by default its own",
    None,
    None,
)
_OWN_SECTIONS = ("training", "server")  # what algorithms may be given apart, the rounds excepted


class Case(NamedTuple):
    """One run of a comparison.

    Attributes:
        name: ALGORITHM-SPARSITY, or ALGORITHM where it runs once; of its folder, too.
        sparsity: Of those compared; None where the algorithm runs once.
        config: Of the run, without a folder.
    """

    name: str
    sparsity: float | None
    config: RunConfig


@dataclasses.dataclass(frozen=True)
class Comparison(Options):
    """What is compared.

    Attributes:
        algorithms: Names in the registry, in the order of the table.
        sparsities: Each a run of every algorithm that has this hyper-parameter; none leaves all at their own.
        shared: Options of all runs, by name.
        own: Options of one algorithm's runs: algorithm -> option -> value.

    Raises:
        UsageError: Names that are unknown or named twice, or values that are not allowed.
    """

    algorithms: tuple[str, ...]
    sparsities: tuple[float, ...] = ()
    reference: str | None = option(
        None,
        "algorithm from which differences are taken, seed by seed, at the same sparsity where it has one",
    )
    target: float | None = option(
        None, "test accuracy (without classes, test loss) whose bytes, FLOPs and simulated time are stated"
    )
    last: int = option(
        10, "the mean is over the recorded rounds among the last so many", allowed=AT_LEAST_ONE
    )
    shared: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.algorithms:
            raise errors.UsageError(
                "name the algorithms to compare (fedjax-sparse list algorithms lists them)"
            )
        for name in self.algorithms:
            if "/" in name or (name not in registry.algorithms() and Path(name).is_dir()):
                raise errors.UsageError(
                    f"{name} is no algorithm: compare takes names; of runs that there are, plot draws figures"
                )
            registry.entry(name)
        _check_once("algorithm", self.algorithms)
        _check_once("sparsity", self.sparsities)
        one = SPARSITIES._replace(annotation=float, allowed=SPARSITY)
        object.__setattr__(self, "sparsities", tuple(checked(one, value) for value in self.sparsities))
        if self.reference is not None and self.reference not in self.algorithms:
            errors.unknown_name("reference", self.reference, self.algorithms)
        for name, values in self.own.items():
            if name not in self.algorithms:
                errors.unknown_name("algorithm of [algorithm.NAME]", name, self.algorithms)
            _check_own(registry.entry(name), values, self.sparsities)

    def cases(self) -> list[Case]:
        """The runs, algorithm by algorithm.

        Raises:
            UsageError: A run cannot be configured as it is asked for, or there are more than `MOST_RUNS`.
        """
        found = [
            self._case(registry.entry(name), sparsity)
            for name in self.algorithms
            for sparsity in (self.sparsities if _has_sparsity(registry.entry(name)) else ()) or (None,)
        ]
        if self.sparsities and all(case.sparsity is None for case in found):
            raise errors.UsageError(
                f"--sparsities has no effect on {', '.join(self.algorithms)}; leave it out"
            )
        runs = len(found) * found[0].config.run.seeds
        if runs > MOST_RUNS:
            raise errors.UsageError(
                f"{len(found)} runs of {found[0].config.run.seeds} seeds are {runs:,} trainings; "
                f"allowed: up to {MOST_RUNS:,} in a comparison"
            )
        return found

    def _case(self, entry: Entry, sparsity: float | None) -> Case:
        own = self.own.get(entry.name, {})
        values = run_config.without_rivals(self.shared, own) | dict(own)
        if sparsity is not None:
            values["sparsity"] = sparsity
        name = entry.name if sparsity is None else f"{entry.name}-{sparsity}"
        try:
            config = run_config.configure(entry.name, **values)
        except errors.UsageError as error:
            raise errors.UsageError(f"{name}: {error}") from None
        return Case(name, sparsity, run_config.changed(config, out=None, figures=False))


def to_toml_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as tables of a TOML file; what is None is left out."""
    own = {o.name: getattr(comparison, o.name) for o in declared_options(Comparison)}
    head = {"algorithms": [*comparison.algorithms], "sparsities": [*comparison.sparsities]} | own
    tables = {"comparison": _stated(head)}
    for name, value in _stated(comparison.shared).items():
        tables.setdefault(run_config.HOMES[name], {})[name] = value
    apart = {name: _stated(values) for name, values in comparison.own.items()}
    return tables | ({"algorithm": apart} if apart else {})


def values_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Comparison` that a file's tables state.

    Raises:
        UsageError: The file is no comparison.
    """
    head, own = table.get("comparison", {}), table.get("algorithm", {})
    rest = {key: value for key, value in table.items() if key not in ("comparison", "algorithm")}
    for name, value in {"comparison": head, "algorithm": own}.items():
        if not isinstance(value, Mapping):
            raise errors.UsageError(f"{name} = {value!r} is not valid; allowed: a table [{name}]")
    for name, values in own.items():
        if not isinstance(values, Mapping):
            raise errors.UsageError(
                f"{name} = {values!r} in [algorithm] is not valid; a comparison has tables [algorithm.NAME]"
            )
    known = ["algorithms", "sparsities", *(o.name for o in declared_options(Comparison))]
    for name in head:
        if name not in known:
            errors.unknown_name("option of [comparison]", name, known)
    lists = {name: _list_of(name, head[name]) for name in ("algorithms", "sparsities") if name in head}
    return {**head, **lists, "shared": run_config.options_of_run(rest), "own": own}


def sparsities_of(text: str) -> tuple[float, ...]:
    """The numbers of a text such as 0.8,0.9; none of `none`."""
    try:
        return () if text == "none" else tuple(map(float, text.split(",")))
    except ValueError:
        raise errors.UsageError(
            f"--sparsities = {text!r} is not valid; allowed: numbers in {SPARSITY} as in 0.8,0.9"
        ) from None


def _list_of(name: str, value: Any) -> tuple[Any, ...]:
    kind = str if name == "algorithms" else int | float
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        word = "names" if name == "algorithms" else "numbers"
        raise errors.UsageError(f"{name} = {value!r} is not valid; allowed: a list of {word}")
    return tuple(value)


def _check_once(kind: str, values: Sequence[Any]) -> None:
    for value, times in Counter(values).items():
        if times > 1:
            raise errors.UsageError(f"{kind} {value} is named {times} times; name it once")


def _check_own(entry: Entry, values: Mapping[str, Any], sparsities: Iterable[float]) -> None:
    """Only what does not make the comparison another one may be stated for one algorithm."""
    where = f"[algorithm.{entry.name}]"
    try:
        run_config.check_values(entry, values)
    except errors.UsageError as error:
        raise errors.UsageError(f"{where}: {error}") from None
    for name in values:
        home = run_config.HOMES.get(name)
        if name == "rounds" or home not in (None, *_OWN_SECTIONS):
            raise errors.UsageError(f"{where}: {name} is the same for all algorithms; state it in [{home}]")
    if sparsities and "sparsity" in values:
        raise errors.UsageError(f"{where}: sparsity is stated by the sparsities of the comparison; keep one")


def _has_sparsity(entry: Entry) -> bool:
    return any(o.name == "sparsity" for o in declared_options(entry.hyperparameters))


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
