"""FedDST: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, SPARSITY, Range, option


@dataclass(frozen=True)
class FedDST(Hyperparameters):
    """FedDST: clients prune and grow at the end of their training; a mean over those who hold an entry."""

    sparsity: float = option(0.8, "fraction of zeros among the kernels", allowed=SPARSITY, paper="0.8, 0.5")
    drop_fraction: float = option(
        0.01,
        "share of the living entries that a client replaces",
        allowed=Range(low=0, high=1, high_open=True),
        paper="0.01",
    )
    adjust_every: int = option(
        15, "rounds between two moves of the mask", allowed=AT_LEAST_ONE, paper="15, 10"
    )
    adjust_until: int | None = option(
        None,
        "round from which the mask rests; half of the run unless stated",
        allowed=AT_LEAST_ONE,
        paper="200 of 400",
    )
    decayed: bool = option(
        False, "the share falls as a cosine (the paper), where the code keeps it", paper="yes; no (code)"
    )
    growth: Literal["any", "not-kept"] = option(
        "any", "where weights grow: anywhere, which resets kept ones (code), or where none was kept"
    )
    min_votes: float = option(
        0.0, "weight of the clients beyond which an entry is held", allowed=NOT_NEGATIVE, paper="0"
    )


ENTRIES = (
    Entry(
        name="feddst",
        summary="clients prune and grow by gradient; a mean over those who hold an entry, pruned at the server",
        factory="fedjax_sparse.baselines.feddst:feddst",
        hyperparameters=FedDST,
        system="FedDST",
        references=("bibikar2022feddst",),
        state="both",
        up="its living entries, and where they are if its mask moved",
        down="the model's living entries, and where they are if that is news",
        sparse=("server", "deployed"),
        unused=SERVER_OPTIMIZER,
        follows_length=True,
    ),
)
