"""FLARE: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.cards.error_feedback import ErrorFeedback
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, Range, option

PERCENTILE = Range(low=0, high=100)


@dataclass(frozen=True)
class Flare(ErrorFeedback):
    """FLARE: the residuals steer local training."""

    tau: float = option(
        0.05, "strength of the pull towards model plus residual", allowed=NOT_NEGATIVE, paper="0.5, 0.05"
    )
    decay: float = option(
        1.01,
        "the strength is divided by this in every round",
        allowed=AT_LEAST_ONE,
        paper="1.05, 1.1, 1.01, 1.005, 1.001",
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


ENTRIES = (
    Entry(
        name="flare",
        summary="top-K of each tensor with residuals, towards which clients are pulled as they train",
        factory="fedjax_sparse.algorithms.flare:flare",
        hyperparameters=Flare,
        system="FLARE",
        role="system",
        references=("greidi2023flare",),
        state="both",
        up="the largest entries of its update, and where they are",
        down="the model",
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
)
