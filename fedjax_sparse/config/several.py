"""Several algorithms under the same conditions: which, what all have in common, and what one has apart. No JAX here.

In a file:

    [HEAD]                    # comparison or sweep: what is done with them
    algorithms = ["fedavg", "fedsparsify-global", "sparsyfed"]

    [training]                # and the other sections of a run: the same for all
    rounds = 60

    [algorithm.sparsyfed]     # of one alone: its hyper-parameters, local training and server
    client_lr = 0.25
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fedjax_sparse import errors
from fedjax_sparse.config import registry, run_config
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import Options, declared_options
from fedjax_sparse.config.run_config import RunConfig

MOST_RUNS = 1000
OWN_SECTIONS = ("training", "server")  # what algorithms may be given apart, the rounds excepted


@dataclasses.dataclass(frozen=True)
class Several(Options):
    """Algorithms and their options.

    Attributes:
        algorithms: Names in the registry, in the order of the table.
        shared: Options of all runs, by name.
        own: Options of one algorithm's runs: algorithm -> option -> value.

    Raises:
        UsageError: Names that are unknown or named twice, or values that are not allowed.
    """

    algorithms: tuple[str, ...]
    shared: Mapping[str, Any] = dataclasses.field(default_factory=dict, kw_only=True)
    own: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.algorithms:
            raise errors.UsageError("name the algorithms (fedjax-sparse list algorithms lists them)")
        for name in self.algorithms:
            if "/" in name or (name not in registry.algorithms() and Path(name).is_dir()):
                raise errors.UsageError(
                    f"{name} is no algorithm: names are wanted; of runs that there are, plot draws figures"
                )
            registry.entry(name)
        check_once("algorithm", self.algorithms)
        for name, values in self.own.items():
            if name not in self.algorithms:
                errors.unknown_name("algorithm of [algorithm.NAME]", name, self.algorithms)
            _check_own(registry.entry(name), values)

    def configure(self, algorithm: str, **values: Any) -> RunConfig:
        """The run of an algorithm: what all have, over that what it has apart, and over both these values."""
        stated = dict(self.shared)
        for over in (self.own.get(algorithm, {}), values):
            stated = run_config.without_rivals(stated, over) | dict(over)
        config = run_config.configure(algorithm, **stated)
        return run_config.changed(config, out=None, figures=False)


def to_toml_dict(kind: str, head: Mapping[str, Any], several: Several) -> dict[str, Any]:
    """All as tables of a TOML file, `head` in that of its kind; what is None is left out."""
    tables = {kind: stated({"algorithms": [*several.algorithms], **head})}
    for name, value in stated(several.shared).items():
        tables.setdefault(run_config.HOMES[name], {})[name] = value
    apart = {name: stated(values) for name, values in several.own.items()}
    return tables | ({"algorithm": apart} if apart else {})


def values_of(kind: str, table: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """What a file's tables state: what stands in the table of its kind, `shared` and `own`.

    Args:
        kind: Its table, such as comparison.
        table: The file's tables.
        known: Options of that table, besides `algorithms`.

    Raises:
        UsageError: The file is of another kind.
    """
    head, own = table.get(kind, {}), table.get("algorithm", {})
    rest = {key: value for key, value in table.items() if key not in (kind, "algorithm")}
    for name, value in {kind: head, "algorithm": own}.items():
        if not isinstance(value, Mapping):
            raise errors.UsageError(f"{name} = {value!r} is not valid; allowed: a table [{name}]")
    for name, values in own.items():
        if not isinstance(values, Mapping):
            raise errors.UsageError(
                f"{name} = {values!r} in [algorithm] is not valid; a {kind} has tables [algorithm.NAME]"
            )
    known = ["algorithms", *known]
    for name in head:
        if name not in known:
            errors.unknown_name(f"option of [{kind}]", name, known)
    names = {"algorithms": list_of("algorithms", head["algorithms"], str)} if "algorithms" in head else {}
    return {**head, **names, "shared": run_config.options_of_run(rest), "own": own}


def list_of(name: str, value: Any, kind: Any) -> tuple[Any, ...]:
    """A file's list of names or numbers."""
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        word = "names" if kind is str else "numbers"
        raise errors.UsageError(f"{name} = {value!r} is not valid; allowed: a list of {word}")
    return tuple(value)


def check_once(kind: str, values: Sequence[Any]) -> None:
    """Raises a `UsageError` where a value stands twice."""
    for value, times in Counter(values).items():
        if times > 1:
            raise errors.UsageError(f"{kind} {value} is named {times} times; name it once")


def check_count(runs: int, seeds: int, what: str) -> None:
    """Raises a `UsageError` where there are more trainings than anybody waits for."""
    if runs * seeds > MOST_RUNS:
        raise errors.UsageError(
            f"{runs:,} runs of {seeds:,} seeds are {runs * seeds:,} trainings; allowed: up to {MOST_RUNS:,} in a {what}"
        )


def has_sparsity(entry: Entry) -> bool:
    """Whether the algorithm has the hyper-parameter by which several are compared."""
    return any(o.name == "sparsity" for o in declared_options(entry.hyperparameters))


def is_own(name: str) -> bool:
    """Whether an option may be another one for each algorithm, without changing the conditions that all share."""
    return name != "rounds" and run_config.HOMES.get(name) in (None, *OWN_SECTIONS)


def stated(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _check_own(entry: Entry, values: Mapping[str, Any]) -> None:
    """Only what does not make the conditions other ones may be stated for one algorithm."""
    where = f"[algorithm.{entry.name}]"
    try:
        run_config.check_values(entry, values)
    except errors.UsageError as error:
        raise errors.UsageError(f"{where}: {error}") from None
    for name in values:
        if not is_own(name):
            home = run_config.HOMES[name]
            raise errors.UsageError(f"{where}: {name} is the same for all algorithms; state it in [{home}]")
