"""The configuration of a run: its sections, its algorithm and the algorithm's options, to and from TOML. No JAX here.

In a file each section is a table, and the algorithm one with its name:

    [data]
    dataset = "digits"

    [training]
    rounds = 60

    [algorithm]
    name = "fedsparsify-global"
    sparsity = 0.9

In Python and on the command line all stand side by side: `configure("fedsparsify-global", rounds=60, sparsity=0.9)`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_sparse import errors
from fedjax_sparse.config import registry
from fedjax_sparse.config.cards.sparse_proxskip import Scaffnew
from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import Option, Options, checked, declared_options
from fedjax_sparse.config.sections import (
    Cohorts,
    Data,
    Machine,
    Partition,
    Records,
    Run,
    Server,
    Training,
)
from fedjax_sparse.data import sampling


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that a run depends on: an algorithm with its own options, and the sections that all runs have.

    Attributes:
        algorithm: Name in the registry, or `module:factory` of one from outside.
        hyper: The algorithm's own hyper-parameters.

    The other fields are the sections, in the order in which `--help` shows them. Where the number of clients is known,
    an automatic cohort is a number, too.

    Raises:
        UsageError: values of different sections do not fit together.
    """

    algorithm: str
    hyper: Hyperparameters
    data: Data = Data()
    partition: Partition = Partition()
    cohorts: Cohorts = Cohorts()
    training: Training = Training()
    server: Server = Server()
    run: Run = Run()
    machine: Machine = Machine()
    records: Records = Records()

    def __post_init__(self) -> None:
        if self.cohorts.cohort_size == "auto" and self.partition.clients != "auto":
            places = self.cohorts.places(self.partition.clients)
            object.__setattr__(self, "cohorts", dataclasses.replace(self.cohorts, cohort_size=places))
        check(self)


SECTIONS: dict[str, type[Options]] = {
    field.name: type(field.default)
    for field in dataclasses.fields(RunConfig)
    if isinstance(field.default, Options)
}


def run_options() -> Iterator[Option]:
    """The options that all runs have, section by section."""
    for section in SECTIONS.values():
        yield from declared_options(section)


# Option -> its section: names are unique, so that flags and Python need no sections.
HOMES = {option.name: name for name, section in SECTIONS.items() for option in declared_options(section)}


def default(name: str) -> Any:
    """What an option of any section is where nobody states it."""
    return next(o.default for o in declared_options(SECTIONS[HOMES[name]]) if o.name == name)


def make_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that hold these options, by name; what is not stated in them has its default.

    Args:
        values: Options of any section, side by side.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """
    return {name: SECTIONS[name](**own) for name, own in _by_section(values).items()}


def changed(config: RunConfig, **values: Any) -> RunConfig:
    """The configuration with other values for these options of any section."""
    new = {
        name: dataclasses.replace(getattr(config, name), **own) for name, own in _by_section(values).items()
    }
    return dataclasses.replace(config, **new)


def _by_section(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        grouped.setdefault(HOMES[name], {})[name] = value
    return grouped


def check(config: RunConfig) -> None:
    """Checks what no single section can know.

    Raises:
        UsageError: naming the values and what is allowed.
    """
    expected = registry.entry(config.algorithm).hyperparameters
    if type(config.hyper) is not expected:
        raise errors.UsageError(
            f"hyper = {config.hyper!r} does not belong to {config.algorithm}; allowed: {expected.__name__}"
        )
    schedule = config.training.epoch_lr_schedule
    if schedule != "constant" and isinstance(config.hyper, Scaffnew):
        raise errors.UsageError(
            f"--epoch-lr-schedule = {schedule!r} is not valid with {config.algorithm}, "
            "whose control variates need one step size in a round; allowed: constant"
        )
    if config.partition.clients != "auto":
        _check_cohorts(config.cohorts, config.partition.clients)


def _check_cohorts(cohorts: Cohorts, clients: int) -> None:
    """Checks who takes part among clients whose number is known."""
    if cohorts.places(clients) > clients:
        raise errors.UsageError(
            f"--cohort-size = {cohorts.cohort_size} is more than --clients = {clients}; "
            f"allowed: 1 to {clients}, or all"
        )
    sampling.make(
        cohorts.participation,
        clients=clients,
        cohort_size=cohorts.places(clients),
        sizes=np.ones(clients, np.int64),
        dropout=cohorts.dropout,
    )


def configure(algorithm: str, **values: Any) -> RunConfig:
    """A run configuration from its algorithm's defaults and the values stated.

    Args:
        algorithm: Name in the registry.
        **values: Options of any section and of the algorithm, side by side.

    Raises:
        UsageError: an unknown name, or a value or combination that is not allowed.

    Example:
        >>> config = configure("fedsparsify-global", sparsity=0.9, rounds=60)
        >>> config.hyper.sparsity, config.training.rounds
        (0.9, 60)
    """
    entry = registry.entry(algorithm)
    check_values(entry, values)
    if "local_epochs" in values and values.get("local_steps") is not None:
        raise errors.UsageError(
            f"--local-epochs = {values['local_epochs']} and --local-steps = {values['local_steps']} "
            "exclude each other; state one"
        )
    own_names = {option.name for option in declared_options(entry.hyperparameters)}
    own = {name: value for name, value in values.items() if name in own_names}
    of_run = {name: value for name, value in values.items() if name not in own_names}
    return RunConfig(algorithm, entry.hyperparameters(**own), **make_sections({**entry.overrides, **of_run}))


def without_rivals(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values but the local work, in epochs or steps, that other values are to replace by the other measure."""
    rivals = {"local_epochs": "local_steps", "local_steps": "local_epochs"}
    replaced = {rivals[name] for name in given if name in rivals and rivals[name] not in given}
    return {name: value for name, value in values.items() if name not in replaced}


def check_values(entry: Entry, values: Mapping[str, Any]) -> None:
    """Checks each value of a run of this algorithm on its own.

    Raises:
        UsageError: a name is no option, or a value is not allowed for it.
    """
    own = {option.name: option for option in declared_options(entry.hyperparameters)}
    for name in own.keys() & HOMES.keys():
        raise errors.UsageError(
            f"{entry.name}: its {name} has the name of an option that all runs have; rename it"
        )
    options = {option.name: option for option in run_options()} | own
    for name, value in values.items():
        if name not in options:
            errors.unknown_name(f"option of {entry.name}", name, options)
        checked(options[name], value)


def values(config: RunConfig) -> dict[str, Any]:
    """All options of a run and of its algorithm, side by side."""
    parts = (*(getattr(config, name) for name in SECTIONS), config.hyper)
    return {
        option.name: getattr(part, option.name) for part in parts for option in declared_options(type(part))
    }


def to_toml_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as TOML tables; what is None, or replaced by local steps, is left out."""
    tables = {name: _stated(getattr(config, name)) for name in SECTIONS}
    if config.training.local_steps is not None:
        del tables["training"]["local_epochs"]
    return {**tables, "algorithm": {"name": config.algorithm, **_stated(config.hyper)}}


def _stated(options: Options) -> dict[str, Any]:
    """The values that are not None, by name: TOML has no None, and a missing key is read as its default."""
    values = {option.name: getattr(options, option.name) for option in declared_options(type(options))}
    return {name: value for name, value in values.items() if value is not None}


def from_toml_dict(table: Mapping[str, Any]) -> RunConfig:
    """The inverse of `to_toml_dict`; missing keys take their defaults."""
    algorithm, own = algorithm_of(table)
    if algorithm is None:
        raise errors.UsageError("the configuration names no algorithm; add [algorithm] with name = ...")
    return configure(algorithm, **options_of_run(table), **own)


def algorithm_of(table: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The name in a file's table `algorithm` (None if there is none), and the algorithm's options beside it."""
    own = table.get("algorithm", {})
    name = own.get("name", "") if isinstance(own, Mapping) else None
    if not isinstance(name, str):
        raise errors.UsageError(
            f"algorithm = {own!r} is not valid; allowed: a table [algorithm] with name = ..."
        )
    return name or None, {key: value for key, value in own.items() if key != "name"}


def options_of_run(table: Mapping[str, Any]) -> dict[str, Any]:
    """All options in a file but those of its algorithm, by name, unchecked.

    They stand in the table of their section or, as in files of versions up to 0.1, outside all tables.

    Raises:
        UsageError: a table that is no section, an option in another section's table, or one that is stated twice.
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "algorithm":
            continue
        stated = _in_section(key, value) if isinstance(value, Mapping) else {key: value}
        for name in stated.keys() & values.keys():
            raise errors.UsageError(f"{name} is stated twice; keep the one in [{HOMES.get(name)}]")
        values |= stated
    return values


def restated(table: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """A file's tables with other values for options of the run; where a file of old states them, outside all tables."""
    new = dict(table)
    for name, value in values.items():
        if name in table and not isinstance(table[name], Mapping):
            new[name] = value
        else:
            new[HOMES[name]] = {**new.get(HOMES[name], {}), name: value}
    return new


def _in_section(section: str, stated: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a table states, each of it an option of that section."""
    if section not in SECTIONS:
        errors.unknown_name("table", section, [*SECTIONS, "algorithm"])
    for name in stated:
        home = HOMES.get(name)
        if home is None:
            errors.unknown_name(
                f"option of [{section}]", name, [o.name for o in declared_options(SECTIONS[section])]
            )
        if home != section:
            raise errors.UsageError(f"{name} is no option of [{section}]; it belongs to [{home}]")
    return stated


def read(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise errors.UsageError(f"cannot read {path}: {error.strerror}") from None
    except RecursionError:
        raise errors.UsageError(f"{path} is not a configuration: it is nested too deeply") from None
    except (
        ValueError
    ) as error:  # a name that no file can have, not TOML, not UTF-8, or a number that is too long
        raise errors.UsageError(f"{path} is not a TOML file: {error}") from None
