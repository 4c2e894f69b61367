"""The hyper-parameters of every algorithm, one frozen dataclass each. No JAX here: `--help` reads this file.

Values are checked when a dataclass is made. Where an algorithm has a paper, `paper` states what it used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.options import AT_LEAST_ONE, NOT_NEGATIVE, SPARSITY, Options, Range, option

PERCENT_KEPT = Range(low=0, high=100, low_open=True)
PERCENTILE = Range(low=0, high=100)


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


@dataclass(frozen=True)
class FedProx(Hyperparameters):
    """FedProx: FedAvg with a proximal term in local training."""

    mu: float = option(
        0.01, "strength of mu/2 ||w - W||^2", allowed=NOT_NEGATIVE, paper="0.001, 0.01, 0.1, 1"
    )


@dataclass(frozen=True)
class ErrorFeedback(Hyperparameters):
    """Top-K of each tensor with error feedback.

    In percent kept, as these papers have it: at 0.0001 % the sparsity, 0.999999, would be hard to read and to type.
    """

    keep_percent: float = option(
        1.0, "percent of each tensor's entries that is sent", allowed=PERCENT_KEPT, paper="0.001, 0.0001"
    )
    count_rule: Literal["exact", "plus-one"] = option(
        "exact",
        "entries sent of each tensor: max(1, round(size R / 100)), or round(size R / 100) + 1 (official code)",
    )


@dataclass(frozen=True)
class Flare(ErrorFeedback):
    """FLARE: the residuals steer local training."""

    tau: float = option(
        0.05, "strength of the pull towards model plus residual", allowed=NOT_NEGATIVE, paper="0.5, 0.05"
    )
    decay: float = option(
        1.01, "the strength is divided by this in every round", allowed=AT_LEAST_ONE, paper="1.05, 1.1, 1.01"
    )
    first_steps: int | Literal["all"] = option(
        1, "local steps of a round, from its first, that are pulled", allowed=NOT_NEGATIVE, paper="1, 5, all"
    )
    percentile: float = option(
        50.0,
        "entries whose residual is larger than this percentile are pulled",
        allowed=PERCENTILE,
        paper="50",
    )
    norm: Literal["l1", "l2"] = option("l1", "norm of the pull", paper="l1")
    restart_momentum: bool = option(
        False, "momentum starts anew after the steps that are pulled (official code)"
    )


@dataclass(frozen=True)
class EF21(ErrorFeedback):
    """EF21: what is sent is the change of each client's state."""

    state_mean: Literal["all", "cohort"] = option(
        "all", "the model steps along the mean state of all clients, or of the cohort (FLARE's official code)"
    )


@dataclass(frozen=True)
class FedProxErrorCorrection(ErrorFeedback):
    """FedProx with error correction."""

    mu: float = option(0.01, "strength of mu/2 ||w - W||^2 in round 0", allowed=NOT_NEGATIVE, paper="1, 0.1")
    decay: float = option(
        1.0, "the strength is divided by this in every round", allowed=AT_LEAST_ONE, paper="1.05, 1.1, 1.01"
    )


@dataclass(frozen=True)
class FFL(ErrorFeedback):
    """FFL: percent and local work follow the loss."""
