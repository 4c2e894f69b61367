"""FedDyn: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import POSITIVE, option


@dataclass(frozen=True)
class FedDyn(Hyperparameters):
    """FedDyn: dynamic regularisation."""

    strength: float = option(0.01, "alpha, the strength of the regulariser", allowed=POSITIVE, paper="0.01")
    strength_by: Literal["examples", "uniform"] = option(
        "examples",
        "each client's alpha is divided by its examples over the mean client's, or is the same for all",
        paper="examples",
    )
    deployed: Literal["cloud", "average", "all"] = option(
        "cloud",
        "the model that is deployed: the one clients start from, the mean of the cohort's, or the mean of the last "
        "known models of all clients, which the official code plots",
    )


ENTRIES = (
    Entry(
        name="feddyn",
        summary="clients' losses are shifted, round by round, until their minimisers agree",
        factory="fedjax_sparse.baselines.feddyn:feddyn",
        hyperparameters=FedDyn,
        system="FedDyn",
        references=("acar2021feddyn",),
        state="both",
        up="the model",
        down="the model",
        overrides={"weighting": "uniform"},
        unused=SERVER_OPTIMIZER,
    ),
)
