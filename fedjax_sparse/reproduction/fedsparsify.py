"""What the figures of FedSparsify share: its methods and baselines, as figures call them. No JAX here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedjax_sparse.reproduction.cases import Case, case, pruned

SYSTEM = {"FedSparsify-Global": "fedsparsify-global", "FedSparsify-Local": "fedsparsify-local"}
RIVALS = {
    "SNIP": "snip",
    "GraSP": "grasp",
    "PruneFL": "prunefl",
    "one-shot": "one-shot-pruning",
    "random": "random-pruning",
}
DENSE = {"FedAvg": "fedavg", "FedProx": "fedprox"}
TENTH = 0.9  # sparsity of a tenth of the size


def dense(options: Mapping[str, Any], names: Mapping[str, str] = DENSE, panel: str = "") -> Iterator[Case]:
    """Training without pruning; the pull of FedProx is the authors'."""
    for name, algorithm in names.items():
        own = {"mu": 0.001} if algorithm == "fedprox" else {}
        yield case(name, algorithm, options, panel=panel, **own)


def sparse(
    options: Mapping[str, Any],
    sparsity: float,
    names: Mapping[str, str],
    panel: str = "",
    at: float | None = None,
) -> Iterator[Case]:
    """Methods that prune to a sparsity; PruneFL moves its mask four times, as in the authors' 200 rounds."""
    for name, algorithm in names.items():
        own = {"adjust_every": max(1, options["rounds"] // 4)} if algorithm == "prunefl" else {}
        yield pruned(name, algorithm, options, sparsity, panel=panel, at=at, **own)
