"""Algorithms from outside the package: by `module:name`, or under a name that another package registers.

What is named is a factory, (federation, hyper-parameters) -> `Algorithm`, or an `Entry`. A factory's second parameter
is annotated with the dataclass of its hyper-parameters, and its docstring begins with what it does. An `Entry` says
more, and may lie in a module without JAX, so that `--help` need not wait for it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
import types
import typing
from collections.abc import Callable
from importlib import metadata
from typing import Any

from fedjax_sparse import errors
from fedjax_sparse.config.entry import Entry, Hyperparameters

GROUP = "fedjax_sparse.algorithms"


def installed() -> dict[str, str]:
    """Names that the installed packages register as entry points, each with the `module:name` that it stands for."""
    return {point.name: point.value for point in metadata.entry_points(group=GROUP)}


def read(name: str, reference: str) -> Entry:
    """The entry of an algorithm from outside.

    Args:
        name: What it is called in this run: in its configuration, its records and its help.
        reference: `module:name` of a factory or an `Entry`.

    Raises:
        UsageError: It cannot be imported, or does not say what its hyper-parameters are.
    """
    found = resolve(reference)
    if isinstance(found, Entry):
        return dataclasses.replace(found, name=name)
    if not callable(found):
        raise errors.UsageError(f"{reference} is a {type(found).__name__}; allowed: a factory or an Entry")
    return Entry(
        name=name,
        summary=_summary(found) or f"{reference}, which has no docstring",
        factory=reference,
        hyperparameters=_hyperparameters(found, reference),
        system=reference.partition(":")[0],
        references=(),
        sparse=None,
        follows_length=None,
    )


def resolve(reference: str) -> Any:
    """What `module:name` stands for; modules may also lie in the working folder, behind those that are installed.

    Raises:
        UsageError: There is no such module, importing it fails, or it has nothing of that name.
    """
    module, _, name = reference.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        inside = vars(importlib.import_module(module))
    except Exception as error:
        raise errors.UsageError(
            f"cannot import {module!r} of {reference!r}: {type(error).__name__}: {error} "
            "(allowed: an installed module, or one in the folder where you are)"
        ) from error
    if name not in inside:
        errors.unknown_name(f"name in module {module}", name, [n for n in inside if not n.startswith("_")])
    return inside[name]


def _summary(factory: Callable[..., Any]) -> str:
    """The first line of its docstring, without the full stop."""
    return (inspect.getdoc(factory) or "").partition("\n")[0].removesuffix(".")


def _hyperparameters(factory: Callable[..., Any], reference: str) -> type[Hyperparameters]:
    """The dataclass with which its second parameter is annotated.

    That annotation alone is evaluated: others may name what only type checkers import.
    """
    parameters = list(inspect.signature(factory).parameters.values())
    stated = parameters[1].annotation if len(parameters) > 1 else None
    holder = types.SimpleNamespace(__annotations__={"hyper": stated})
    try:
        hints = typing.get_type_hints(holder, getattr(inspect.unwrap(factory), "__globals__", None))
    except Exception as error:
        raise errors.UsageError(f"{reference}: {stated!r} cannot be evaluated: {error}") from error
    if not (isinstance(hints["hyper"], type) and issubclass(hints["hyper"], Hyperparameters)):
        raise errors.UsageError(
            f"{reference} does not say what its hyper-parameters are; allowed: a factory whose second parameter is "
            "annotated with a subclass of fedjax_sparse.config.entry.Hyperparameters, or an Entry"
        )
    return hints["hyper"]
