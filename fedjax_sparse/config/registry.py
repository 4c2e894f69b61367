"""Algorithms by name. Names and hyper-parameters are known without JAX; code is imported when it is asked for."""

from __future__ import annotations

import functools
import importlib
import importlib.resources
import pkgutil
import re
from collections.abc import Callable
from typing import Any

from fedjax_sparse import errors
from fedjax_sparse.config import cards
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import declared_options


def algorithms() -> dict[str, Entry]:
    """Every registered algorithm by name, the systems before the baselines."""
    entries = [entry for card in _cards() for entry in card.ENTRIES]
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.role != "system")}


@functools.cache
def _cards() -> list[Any]:
    """The modules of `config/cards/`, in alphabetical order."""
    return [
        importlib.import_module(f"{cards.__name__}.{card.name}")
        for card in pkgutil.iter_modules(cards.__path__)
    ]


def entry(name: str) -> Entry:
    """The entry of one algorithm; raises `UsageError` with the nearest match if there is none."""
    known = algorithms()
    if name not in known:
        errors.unknown_name("algorithm", name, known)
    return known[name]


def load(entry: Entry) -> Callable[..., Any]:
    """Imports the factory of an algorithm: (federation, hyper-parameters) -> `Algorithm`."""
    module, function = entry.factory.split(":")
    return getattr(importlib.import_module(module), function)


def make_algorithm(name: str, federation: Any, **hyper: Any) -> Any:
    """Builds a registered algorithm.

    Args:
        name: As `fedjax-sparse list algorithms` lists it.
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


def bibliography() -> dict[str, str]:
    """Every BibTeX record of `references.bib` by its key."""
    text = importlib.resources.files("fedjax_sparse").joinpath("references.bib").read_text(encoding="utf-8")
    records = re.split(r"\n\n(?=@)", text.strip())
    return {record[record.index("{") + 1 : record.index(",")]: record for record in records}


def bibtex(entry: Entry) -> str:
    """The references of an algorithm, as BibTeX."""
    records = bibliography()
    return "\n\n".join(records[key] for key in entry.references)
