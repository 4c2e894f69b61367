"""Flags from declared options: one tyro parser for what was asked, and every mistake in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import operator
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import tyro

from fedjax_sparse import errors
from fedjax_sparse.config.options import Option, alternatives, type_name


class Section(NamedTuple):
    """Options that stand together in the help."""

    title: str
    options: Sequence[Option]


def parse(
    sections: Iterable[Section],
    defaults: Mapping[str, Any],
    args: Sequence[str],
    *,
    prog: str,
    description: str,
) -> dict[str, Any]:
    """The values that flags give, by option; options without a flag are left out.

    Values are converted where their text allows it; what is allowed is checked where the options are used.

    Args:
        sections: The options, section by section.
        defaults: Default values by option name, shown in the help.
        args: The command line after the command.
        prog: What stands before the flags.
        description: Printed above the flags by `--help`, which then exits.

    Raises:
        UsageError: an unknown flag or a flag without its value.
    """
    declared = [option for section in sections for option in section.options]
    shown = {option.name: _shown(defaults[option.name]) for option in declared}
    parser = dataclasses.make_dataclass(
        "Flags", [_section_field(section, shown) for section in sections], frozen=True
    )
    flags = [option.flag for option in declared]
    parsed = run_tyro(parser, flags, args, prog=prog, description=description)
    values = {name: value for part in vars(parsed).values() for name, value in vars(part).items()}
    return {o.name: _convert(o, values[o.name]) for o in declared if values[o.name] is not shown[o.name]}


def run_tyro(parser: type, flags: Iterable[str], args: Sequence[str], *, prog: str, description: str) -> Any:
    """An instance of a dataclass from its arguments; tyro's boxes of error text become one line.

    Args:
        parser: The dataclass.
        flags: All its flags, as typed; the nearest is named when an unknown one is given.
        args: The command line after the command.
        prog: What stands before the arguments.
        description: Printed by `--help`.
    """
    boxes = io.StringIO()
    try:
        with contextlib.redirect_stderr(boxes):
            parsed, unknown = tyro.cli(
                parser, args=args, prog=prog, description=description, return_unknown_args=True
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise errors.UsageError(_first_message(boxes.getvalue())) from None
    if unknown:
        wrong = next((text for text in unknown if text.startswith("-")), unknown[0]).split("=")[0]
        hint = errors.did_you_mean(wrong, flags)
        raise errors.UsageError(f"unknown argument {wrong!r}{hint} ({prog} --help lists what is allowed)")
    return parsed


def _section_field(section: Section, shown: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """A dataclass of the section's flags, as a field of the parser."""
    flags = [
        (option.name, _annotation(option), dataclasses.field(default=shown[option.name]))
        for option in section.options
    ]
    part = dataclasses.make_dataclass(section.title, flags, frozen=True)
    return section.title, Annotated[part, tyro.conf.OmitArgPrefixes], dataclasses.field(default_factory=part)


def _annotation(option: Option) -> Any:
    """The type that tyro parses: switches are bool, everything else is text, converted by `_convert`."""
    notes = [option.help, *([f"in {option.allowed}"] if option.allowed else [])]
    notes += [f"paper: {option.paper}"] if option.paper else []
    if option.annotation is bool:
        return Annotated[bool, tyro.conf.arg(help="; ".join(notes))]
    metavar = type_name(option).replace(" | ", "|")
    return Annotated[str, tyro.conf.arg(help="; ".join(notes), metavar=metavar)]


class _Default(str):
    """A default value as text; by its identity it is told from the same text given by a flag."""


def _shown(value: Any) -> Any:
    return value if isinstance(value, bool) else _Default("none" if value is None else value)


def _convert(option: Option, value: Any) -> Any:
    """The value that a text stands for; the text itself where it stands for none."""
    kinds = alternatives(option.annotation)
    if isinstance(value, bool):
        return value
    if value == "none" and types.NoneType in kinds:
        return None
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(value)
    return value


def _first_message(boxes: str) -> str:
    """The text of tyro's first box, without its title, rules and advice; frames may be Unicode or ASCII."""
    title, *lines = [line.strip("│ ") for line in boxes.splitlines()]
    del title
    texts = ["" if set(line) <= {"─", "-"} else line for line in lines]
    return " ".join(itertools.takewhile(bool, itertools.dropwhile(operator.not_, texts)))
