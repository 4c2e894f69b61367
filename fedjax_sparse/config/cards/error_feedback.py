"""Error correction, EF21 and FFL: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, Range, option

PERCENT_KEPT = Range(low=0, high=100, low_open=True)


@dataclass(frozen=True)
class ErrorFeedback(Hyperparameters):
    """Top-K of each tensor with error feedback.

    In percent kept, as these papers have it: at 0.0001 % the sparsity, 0.999999, would be hard to read and to type.
    """

    keep_percent: float = option(
        1.0,
        "percent of each tensor's entries that is sent",
        allowed=PERCENT_KEPT,
        paper="0.1, 0.01, 0.001, 0.0001",
    )
    count_rule: Literal["exact", "plus-one"] = option(
        "exact",
        "entries sent of each tensor: max(1, round(size R / 100)), or round(size R / 100) + 1 (official code)",
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

    loss: Literal["training", "test"] = option(
        "training", "that of the cohort's training, or the model's on the test set (FLARE's official code)"
    )


ENTRIES = (
    Entry(
        name="error-correction",
        summary="top-K of each tensor, with what was not sent added the next time",
        factory="fedjax_sparse.baselines.error_feedback:error_correction",
        hyperparameters=ErrorFeedback,
        system="Error correction",
        references=("stich2018sparsified", "greidi2023flare"),
        state="both",
        up="the largest entries of its update, and where they are",
        down="the model",
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
    Entry(
        name="ef21",
        summary="top-K of the change since what the server knows of each client",
        factory="fedjax_sparse.baselines.error_feedback:ef21",
        hyperparameters=EF21,
        system="EF21",
        references=("richtarik2021ef21", "fatkhullin2021ef21"),
        state="both",
        up="the largest entries of its state's change, and where they are",
        down="the model",
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
    Entry(
        name="fedprox-error-correction",
        summary="error correction with a proximal term in local training",
        factory="fedjax_sparse.baselines.error_feedback:fedprox_error_correction",
        hyperparameters=FedProxErrorCorrection,
        system="FedProx",
        references=("li2020fedprox", "greidi2023flare"),
        state="both",
        up="the largest entries of its update, and where they are",
        down="the model",
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
    Entry(
        name="ffl",
        summary="error correction that sends more and trains less as the loss falls",
        factory="fedjax_sparse.baselines.error_feedback:ffl",
        hyperparameters=FFL,
        system="FFL",
        references=("nori2021ffl", "greidi2023flare"),
        state="both",
        up="the largest entries of its update, and where they are",
        down="the model",
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
)
