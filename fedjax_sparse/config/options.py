"""Declared options: a dataclass field with help, range and the paper's value, checked when it is made.

Run configurations and hyper-parameters are both made of these, so that the command line, a TOML file and Python all
get the same help and the same one-line errors.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple

from fedjax_sparse import errors


class Range(NamedTuple):
    """An interval of numbers; `None` means unbounded."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def __str__(self) -> str:
        """The interval in mathematical notation, such as [0, 1)."""
        return errors.interval(**self._asdict())


LARGEST = 2**31 - 1  # of whole numbers, which rounds count in int32
POSITIVE = Range(low=0, low_open=True)
NOT_NEGATIVE = Range(low=0)
AT_LEAST_ONE = Range(low=1)
SPARSITY = FRACTION = Range(low=0, high=1, high_open=True)
PROBABILITY = Range(low=0, high=1)


def option(default: Any, help: str, *, allowed: Range | None = None, paper: str | None = None) -> Any:
    """Declares a field of an `Options` dataclass.

    Args:
        default: The default value.
        help: What it does, in one phrase; shown by `--help`.
        allowed: The range of a number; other types are checked by their annotation alone.
        paper: The value or values that the algorithm's paper uses.
    """
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed, "paper": paper})


class Option(NamedTuple):
    """One declared option, for those who print or parse it."""

    name: str
    annotation: Any
    default: Any
    help: str
    allowed: Range | None
    paper: str | None

    @property
    def flag(self) -> str:
        """The option as it is typed on the command line."""
        return "--" + self.name.replace("_", "-")


@dataclasses.dataclass(frozen=True)
class Options:
    """Base class: checks the type and range of every declared field.

    Raises:
        UsageError: a value has the wrong type, is out of range or is not among the choices.
    """

    def __post_init__(self) -> None:
        for declared in declared_options(type(self)):
            value = checked(declared, getattr(self, declared.name))
            object.__setattr__(self, declared.name, value)


@functools.cache  # annotations are text, which Python compiles anew each time that it is asked
def declared_options(cls: type[Options]) -> tuple[Option, ...]:
    """The declared options of a dataclass, in their order."""
    annotations = typing.get_type_hints(cls)
    return tuple(
        Option(field.name, annotations[field.name], field.default, **field.metadata)
        for field in dataclasses.fields(cls)
        if "help" in field.metadata
    )


def checked(declared: Option, value: Any) -> Any:
    """The value, an int made a float where the option is one; raises `UsageError` if it is not allowed."""
    kinds = alternatives(declared.annotation)
    choices = [choice for kind in kinds for choice in typing.get_args(kind)]
    plain = [kind for kind in kinds if isinstance(kind, type)]
    if any(type(value) is kind for kind in plain) or value in choices:
        pass
    elif float in plain and type(value) is int and abs(value) <= sys.float_info.max:
        value = float(value)
    elif choices and isinstance(value, str) and not plain:
        errors.unknown_name(declared.flag, value, choices)
    else:
        raise errors.UsageError(
            f"{declared.flag} = {errors.shown(value)} is not valid; allowed: {type_name(declared)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise errors.UsageError(f"{declared.flag} = {value!r} is not valid; allowed: a finite number")
    allowed = declared.allowed or Range()
    if type(value) is int:
        allowed = allowed._replace(
            low=-LARGEST if allowed.low is None else allowed.low,
            high=LARGEST if allowed.high is None else allowed.high,
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        errors.check_range(declared.flag, value, **allowed._asdict())
    return value


def unchecked(options: Options, values: Mapping[str, Any]) -> Any:
    """A copy with other values for those of its options that are named, which may be traced numbers of a program."""
    new = copy.copy(options)
    for declared in declared_options(type(options)):
        if declared.name in values:
            object.__setattr__(new, declared.name, values[declared.name])
    return new


def type_name(declared: Option) -> str:
    """The type of an option in words: `int`, `examples | uniform`, `int | auto`."""
    return " | ".join(
        kind.__name__ if isinstance(kind, type) else " | ".join(map(str, typing.get_args(kind)))
        for kind in alternatives(declared.annotation)
        if kind is not types.NoneType
    )


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)
