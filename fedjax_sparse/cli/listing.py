"""What there is by name, as rows for people and programs. No JAX here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fedjax_sparse import errors, models
from fedjax_sparse.config import bibliography, registry
from fedjax_sparse.costs.networks import NETWORKS
from fedjax_sparse.data import datasets, partition, synthetic
from fedjax_sparse.models import spec

Rows = list[dict[str, Any]]


def _algorithms() -> Rows:
    return [_algorithm(name) for name in registry.names()]


def _algorithm(name: str) -> dict[str, Any]:
    try:
        entry = registry.entry(name)
    except errors.UsageError as error:  # of another package, which must not hide all others
        return {"name": name, "description": f"cannot be used: {error}"}
    paper = bibliography.paper(entry)
    return {
        "name": name,
        "description": entry.summary + (f" ({entry.status})" if entry.status else ""),
        "system": entry.system,
        "paper": paper.title,
        "year": paper.year,
        "url": paper.url,
        "state": entry.state,
        "up": entry.up,
        "down": entry.down,
        "sparse": entry.sparse,
        "reconstructed": entry.reconstructed,
        "reconstructed_options": entry.reconstructed_options,
    }


def _datasets() -> Rows:
    where = {name: entry.where for name, entry in datasets.DATASETS.items()}
    return [
        {
            "name": name,
            "description": entry.description,
            "where": where.get(name, "computed: no files needed"),
        }
        for name, entry in (datasets.DATASETS | synthetic.SYNTHETIC).items()
    ]


def _models() -> Rows:
    return [
        {
            "name": name,
            "description": f"{card.description}; options: {_in_words(spec.options_of(name))}",
            "parameters": card.parameters,
            "task": card.task,
            "options": spec.options_of(name),
        }
        for name, card in models.MODELS.items()
    ]


def _in_words(options: Mapping[str, Any]) -> str:
    """The options of a model as they are typed, with their defaults."""
    return ", ".join(f"{name}={_default(default)}" for name, default in options.items())


def _default(default: Any) -> str:
    if isinstance(default, tuple):
        joint = "|" if any(isinstance(word, str) for word in default) else "x"
        return joint.join(map(str, default)) or "SIZES"
    return str(default).lower()


def _partitions() -> Rows:
    return [{"name": name, "description": rule.description} for name, rule in partition.PARTITIONS.items()]


def _networks() -> Rows:
    return [
        {
            "name": name,
            "description": known.description,
            "tiers": [tier._asdict() for tier in known.network.tiers],
        }
        for name, known in NETWORKS.items()
    ]


TABLES: dict[str, Callable[[], Rows]] = {
    "algorithms": _algorithms,
    "datasets": _datasets,
    "models": _models,
    "partitions": _partitions,
    "networks": _networks,
}
