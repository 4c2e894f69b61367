"""What there is by name, as rows for people and programs. No JAX here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedjax_sparse import models
from fedjax_sparse.config import registry
from fedjax_sparse.data import datasets, partition, synthetic

Rows = list[dict[str, Any]]


def _algorithms() -> Rows:
    return [
        {
            "name": entry.name,
            "description": entry.summary + (f" ({entry.status})" if entry.status else ""),
            "system": entry.system,
            "sparse": entry.sparse,
            "reconstructed": entry.reconstructed,
            "reconstructed_options": entry.reconstructed_options,
        }
        for entry in registry.algorithms().values()
    ]


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
        {"name": name, "description": card.description, "parameters": card.parameters, "task": card.task}
        for name, card in models.MODELS.items()
    ]


def _partitions() -> Rows:
    return [{"name": name, "description": rule.description} for name, rule in partition.PARTITIONS.items()]


TABLES: dict[str, Callable[[], Rows]] = {
    "algorithms": _algorithms,
    "datasets": _datasets,
    "models": _models,
    "partitions": _partitions,
}
