"""Algorithms by name, the package's own and those from outside.

Names and hyper-parameters of the package's own are known without JAX; code is imported when it is asked for.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from fedjax_sparse import errors
from fedjax_sparse.config import cards, external
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import declared_options


def algorithms() -> dict[str, Entry]:
    """Every algorithm of the package by name, the systems before the baselines."""
    entries = [entry for card in _cards() for entry in card.ENTRIES]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.role != "system")}


@functools.cache
def _cards() -> list[Any]:
    """The modules of `config/cards/`, in alphabetical order."""
    return [
        importlib.import_module(f"{cards.__name__}.{card.name}")
        for card in pkgutil.iter_modules(cards.__path__)
    ]


def names() -> list[str]:
    """The package's own algorithms and, behind them, those that other packages register."""
    return list(dict.fromkeys([*algorithms(), *external.installed()]))


def entry(name: str) -> Entry:
    """The entry of one algorithm.

    Args:
        name: Of an algorithm of the package, of one that an installed package registers, or `module:name` of another.

    Raises:
        UsageError: There is none, with the nearest match, or the one from outside cannot be used.
    """
    known = algorithms()
    if name in known:
        return known[name]
    if ":" in name:
        return external.read(name, name)
    elsewhere = external.installed()
    if name not in elsewhere:
        errors.unknown_name("algorithm", name, names())
    return external.read(name, elsewhere[name])


def load(entry: Entry) -> Callable[..., Any]:
    """Imports the factory of an algorithm: (federation, hyper-parameters) -> `Algorithm`."""
    return external.resolve(entry.factory)


def make_algorithm(name: str, federation: Any, **hyper: Any) -> Any:
    """Builds an algorithm.

    Args:
        name: As `fedjax-sparse list algorithms` lists it, or `module:factory` of another.
        federation: The `Federation` of a setting.
        **hyper: Its hyper-parameters, as `fedjax-sparse run NAME --help` lists them.

    Raises:
        UsageError: An unknown name, or a hyper-parameter out of range.
    """
    found = entry(name)
    for given in hyper:
        known = [option.name for option in declared_options(found.hyperparameters)]
        if given not in known:
            errors.unknown_name(f"option of {name}", given, known)
    return load(found)(federation, found.hyperparameters(**hyper))
