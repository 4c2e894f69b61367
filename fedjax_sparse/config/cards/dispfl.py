"""DisPFL: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, PROBABILITY, SPARSITY, option


@dataclass(frozen=True)
class DisPFL(Hyperparameters):
    """DisPFL: clients with masks of their own that average with random neighbours."""

    sparsity: float = option(
        0.5,
        "fraction of zeros of each client's model, over all tensors",
        allowed=SPARSITY,
        paper="0.5, 0.8, 0.95",
    )
    neighbours: int = option(10, "clients that each one hears in a round", allowed=AT_LEAST_ONE, paper="10")
    move_fraction: float = option(
        0.5,
        "share of the living entries that a mask exchanges in round 1; falls to 0 by half a cosine",
        allowed=PROBABILITY,
        paper="0.5",
    )
    growth: Literal["random", "gradient"] = option(
        "random", "which entries grow: any (official scripts), or those of largest gradient on one batch"
    )


ENTRIES = (
    Entry(
        name="dispfl",
        summary="no server: clients with moving masks of their own average with random neighbours",
        factory="fedjax_sparse.baselines.dispfl:dispfl",
        hyperparameters=DisPFL,
        system="DisPFL",
        references=("dai2022dispfl",),
        state="clients",
        up="its living entries, and its mask",
        down="its neighbours' living entries, and their masks",
        sparse=("personal",),
        overrides={"cohort_size": "all"},
        unused=SERVER_OPTIMIZER,
        follows_length=True,
    ),
)
