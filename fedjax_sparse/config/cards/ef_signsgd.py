"""EF-signSGD: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import POSITIVE, option


@dataclass(frozen=True)
class EFSignSGD(Hyperparameters):
    """EF-signSGD: signs with error feedback."""

    sign_of_zero: Literal["plus", "zero"] = option(
        "plus",
        "a zero counts as positive, so that a sign is one bit, or as zero, in two bits (official code)",
    )
    majority_step: float | None = option(
        None,
        "signSGD with majority vote instead: nobody remembers anything, and the server moves each entry by so much "
        "along the majority of the clients' signs",
        allowed=POSITIVE,
    )


ENTRIES = (
    Entry(
        name="ef-signsgd",
        summary="signs and one scale of each tensor, with what they miss added the next time",
        factory="fedjax_sparse.baselines.ef_signsgd:ef_signsgd",
        hyperparameters=EFSignSGD,
        system="EF-signSGD",
        references=("karimireddy2019error", "bernstein2019signsgd"),
        state="both",
        up="the signs of its update, and a scale for each tensor",
        down="the model",
        overrides={"weighting": "uniform"},
    ),
)
