"""What the figures of Sparse-ProxSkip share: its variants and baselines, as figures call them. No JAX here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedjax_sparse.reproduction.cases import Case, case

CLIENTS = {"pruned by clients": "sparse-proxskip", "pruned by clients in every step": "sparse-proxskip-local"}
NAIVE, MODIFIED = "pruned by the server, naively", "pruned by the server, modified"
SERVER = {NAIVE: "sparse-proxskip-server-naive", MODIFIED: "sparse-proxskip-server-modified"}
FEDAVG = "FedAvg, pruned by clients"


def dense(options: Mapping[str, Any], steps: int) -> Case:
    """ProxSkip without pruning, of so many local steps between two communications on average."""
    return case("ProxSkip, dense", "scaffnew", options, probability=1 / steps)


def sparse(
    options: Mapping[str, Any], steps: int, sparsity: float, at: float | None = None
) -> Iterator[Case]:
    """All that prune to a sparsity, and FedAvg with as many local steps."""
    for name, algorithm in (CLIENTS | SERVER).items():
        yield case(name, algorithm, options, at=at, sparsity=sparsity, probability=1 / steps)
    yield case(FEDAVG, "fedavg-client-topk", options, at=at, sparsity=sparsity, local_steps=steps)
