"""Which sparsity runs have come to, where it need not be the one that they were told. No JAX here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fedjax_sparse.reproduction.cases import DENSITIES, Result, Results
from fedjax_sparse.results import tables

NEAR = 0.01  # of a sparsity: as far from it a run counts as having come to it


def reached(result: Result) -> float:
    """Mean sparsity of what may be pruned, over the last rounds and seeds."""
    return 1 - late_density(result, "density_prunable")


def late_density(result: Result, column: str) -> float:
    """Mean of a density over the last rounds and seeds."""
    seeds = result.outcome.seeds.values()
    return float(np.mean([tables.late_mean(columns, column) for columns in seeds]))


def placed(results: Results) -> Results:
    """The results with those at what they reached that were told a bound, as PruneFL and Sub-FedAvg are: to 0.1 %."""
    return results.placed(
        lambda one: round(reached(one), 3) if one.case.config.algorithm in DENSITIES else one.case.at
    )


def elsewhere(results: Results, series: Iterable[str], panel: str, at: float) -> dict[str, float]:
    """Those of the series that were told a sparsity and came to another one -> which."""
    found = {name: results.of(name, panel, at) for name in series}
    ended = {name: reached(one) for name, one in found.items() if one and one.case.at is not None}
    return {name: sparsity for name, sparsity in ended.items() if abs(sparsity - at) > NEAR}


def left_out(ended: Mapping[str, float]) -> str:
    """In words, which rivals are not judged since they came to another sparsity; empty where there are none."""
    words = ", ".join(f"{name} ({100 * sparsity:.1f} %)" for name, sparsity in ended.items())
    return f", leaving out what is not as sparse: {words}" if words else ""
