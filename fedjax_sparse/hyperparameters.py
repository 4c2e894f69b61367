"""The hyper-parameters of every algorithm, one frozen dataclass each. No JAX here: `--help` reads this file.

Values are checked when a dataclass is made. Where an algorithm has a paper, `paper` states what it used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.options import AT_LEAST_ONE, SPARSITY, Options, option


@dataclass(frozen=True)
class Hyperparameters(Options):
    """Base class of every algorithm's hyper-parameters."""


@dataclass(frozen=True)
class FedAvg(Hyperparameters):
    """FedAvg has none of its own."""


@dataclass(frozen=True)
class GradualPruning(Hyperparameters):
    """Gradual pruning of the server's model: sparsity grows from round to round along a polynomial."""

    sparsity: float = option(
        0.9, "fraction of zeros after the last round", allowed=SPARSITY, paper="0.8, 0.85, 0.9, 0.95, 0.99"
    )
    initial_sparsity: float = option(0.0, "fraction of zeros at the start", allowed=SPARSITY, paper="0")
    exponent: int = option(
        3, "exponent of the schedule; 1 is linear, more prunes earlier", allowed=AT_LEAST_ONE, paper="3"
    )
    frequency: int = option(1, "rounds between two prunings", allowed=AT_LEAST_ONE, paper="1")
    start_round: int = option(1, "pruning starts after this round", allowed=AT_LEAST_ONE, paper="1")
    scope: Literal["all", "kernels"] = option(
        "all", "what may be pruned: all trainable scalars, or kernels only", paper="all"
    )
    layerwise: bool = option(False, "prune every leaf to the sparsity, not all leaves together", paper="no")


@dataclass(frozen=True)
class FedSparsifyGlobal(GradualPruning):
    """FedSparsify-Global: the smallest magnitudes of the aggregated model are pruned."""


@dataclass(frozen=True)
class RandomPruning(GradualPruning):
    """Random pruning: the same schedule along one random order of all entries, drawn at the start."""
