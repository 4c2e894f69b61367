"""What several algorithms are asked to do, from names, a file and flags; flags win over the file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedjax_sparse import errors
from fedjax_sparse.cli import flags
from fedjax_sparse.cli.common import PROG, note, run_sections, value_of
from fedjax_sparse.cli.flags import Section
from fedjax_sparse.config import idle, registry, run_config
from fedjax_sparse.config.options import Option
from fedjax_sparse.config.run_config import RunConfig


class Command(NamedTuple):
    """A command on several algorithms.

    Attributes:
        name: As typed.
        about: What it does, for `--help`.
        options: Its own, besides those of runs.
        values_of: A file's tables -> the fields that they state.
        read: Of options that are typed as text: the text -> what it stands for.
        shown: The same the other way round, for `--help`.
    """

    name: str
    about: str
    options: Sequence[Option]
    values_of: Callable[[Mapping[str, Any]], dict[str, Any]]
    read: Mapping[str, Callable[[str], Any]]
    shown: Mapping[str, Callable[[Any], str]]


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        values: Fields of a `Several`.
        given: The options of runs that stand in flags.
        out: The folder; None for a new one under runs/.
        figures: Whether figures are drawn.
    """

    values: dict[str, Any]
    given: Mapping[str, Any]
    out: Path | None
    figures: bool


def request(command: Command, args: Sequence[str]) -> Request:
    """What the arguments of a command ask for: the file's values, and over them the flags'."""
    named = [*itertools.takewhile(lambda text: not text.startswith("-"), args)]
    rest = args[len(named) :]
    path = value_of("--config", rest)
    try:
        in_file = command.values_of(run_config.read(path)) if path else {}
    except errors.UsageError as error:
        raise errors.UsageError(f"{path}: {error}") from None
    shared = in_file.pop("shared", {})
    sections = [Section(command.name, command.options), *run_sections()]
    defaults = {o.name: {**shared, **in_file}.get(o.name, o.default) for s in sections for o in s.options}
    for name, shown in command.shown.items():
        if name in in_file:
            defaults[name] = shown(in_file[name])
    given = flags.parse(
        sections, defaults, rest, prog=f"{PROG} {command.name} ALGORITHM...", description=command.about
    )
    given.pop("config", None)
    head = {o.name: given.pop(o.name) for o in command.options if o.name in given}
    head |= {name: read(head[name]) for name, read in command.read.items() if name in head}
    if named:
        head["algorithms"] = tuple(named)
    shared = run_config.without_rivals(shared, given) | given
    out, figures = shared.pop("out", None), shared.pop("figures", True)
    values = {"algorithms": (), **in_file, **head, "shared": shared}
    return Request(values, given, Path(out) if out else None, figures)


def note_idle(runs: Mapping[str, RunConfig], shared: Mapping[str, Any]) -> None:
    """Says which options have no effect.

    Args:
        runs: What is run, by name.
        shared: The options that were asked for all.
    """
    for name, config in runs.items():
        for option in sorted(set(registry.entry(config.algorithm).unused) & {*shared}):
            note(f"--{option.replace('_', '-')} has no effect on {name}")
    lines = [line for config in runs.values() for line in idle.notes(run_config.values(config), shared)]
    for line in dict.fromkeys(lines):
        note(line)
