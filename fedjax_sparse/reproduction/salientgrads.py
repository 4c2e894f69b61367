"""What the figures of SalientGrads share: its methods and baselines, as figures call them. No JAX here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedjax_sparse.reproduction import published
from fedjax_sparse.reproduction.cases import Case, Scale, case, pruned

SYSTEM = {"SalientGrads": "salientgrads", "SSFL": "ssfl"}
RIVALS = {"DisPFL": "dispfl", "Sub-FedAvg": "sub-fedavg", "SparsyFed": "sparsyfed"}
DENSE = {"FedAvg": "fedavg", "Ditto": "ditto"}
# The time of communication, and clients' own tests, which are the authors' measure.
MEASURED = {"network": "broadband-links", "client_test_size": 100}


def times_faster(file: Path) -> float:
    """How many times faster SSFL, the successor, is said to communicate, from the file of published numbers."""
    return float(published.read(file, "communication").lines[0].y[0])


def named(name: str, sparsity: float) -> str:
    """What the line of a method at a sparsity, a fraction, is called where there are several."""
    return f"{name}, {100 * sparsity:g} %"


def affordable(rivals: dict[str, str], scale: Scale, sparsity: float) -> dict[str, str]:
    """Those of the rivals, which take minutes each on a CPU, that are run: below the paper's scale at 50 % alone."""
    return rivals if scale == "paper" or sparsity == 0.5 else {}


def dense(
    options: Mapping[str, Any],
    names: Mapping[str, str] = DENSE,
    panel: str = "",
    at: float | None = None,
    **own: Any,
) -> Iterator[Case]:
    """Training without pruning."""
    for name, algorithm in names.items():
        yield case(name, algorithm, {**options, **MEASURED}, panel=panel, at=at, **own)


def sparse(
    options: Mapping[str, Any],
    sparsity: float,
    names: Mapping[str, str],
    panel: str = "",
    at: float | None = None,
    **own: Any,
) -> Iterator[Case]:
    """Methods that prune to a sparsity; all clients of DisPFL train in every round, as in its paper."""
    for name, algorithm in names.items():
        everyone = {"cohort_size": "all"} if algorithm == "dispfl" else {}
        here = {**options, **MEASURED, **everyone}
        yield pruned(name, algorithm, here, sparsity, panel=panel, at=at, **own)
