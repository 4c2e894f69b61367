"""FedSpa: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import PROBABILITY, SPARSITY, option


@dataclass(frozen=True)
class FedSpa(Hyperparameters):
    """FedSpa: each client trains its own sparse part of a dense server's model."""

    sparsity: float = option(
        0.5, "fraction of zeros of each client's model, over all tensors", allowed=SPARSITY, paper="0.5"
    )
    move_fraction: float = option(
        0.5,
        "share of the living entries that a mask exchanges in round 1; falls to 0 by half a cosine",
        allowed=PROBABILITY,
    )
    growth: Literal["gradient", "random"] = option(
        "gradient", "which entries grow: those of largest gradient on one batch, or any", paper="gradient"
    )
    mean_over: Literal["cohort", "voters"] = option(
        "cohort", "whom an entry's mean step is over: the whole cohort, or those whose mask has it"
    )


ENTRIES = (
    Entry(
        name="fedspa",
        summary="clients train their own sparse parts of a dense model and move their masks by gradients",
        factory="fedjax_sparse.baselines.fedspa:fedspa",
        hyperparameters=FedSpa,
        system="FedSpa",
        references=("huang2022fedspa",),
        state="both",
        up="its living entries, and its mask",
        down="the entries under its mask",
        sparse=("personal",),
        reconstructed=True,
        follows_length=True,
    ),
)
