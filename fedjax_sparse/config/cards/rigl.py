"""RigL and SET at the clients: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, PROBABILITY, SPARSITY, option


@dataclass(frozen=True)
class MovingMask(Hyperparameters):
    """A mask that moves, by a share that falls as a cosine."""

    sparsity: float = option(0.9, "fraction of zeros among the kernels", allowed=SPARSITY, paper="0.9")
    allocation: Literal["uniform", "er", "erk"] = option(
        "erk", "how layers share the living entries: alike, or by the sum of their dimensions", paper="erk"
    )
    drop_fraction: float = option(
        0.2, "share of a layer's living entries replaced at first", allowed=PROBABILITY, paper="0.2, 0.3"
    )
    adjust_every: int = option(10, "rounds between two moves of the mask", allowed=AT_LEAST_ONE, paper="10")
    adjust_until: int | None = option(
        None,
        "round at which the share has fallen to 0; three fifths of the run unless stated",
        allowed=AT_LEAST_ONE,
        paper="300 of 500",
    )


@dataclass(frozen=True)
class ClientMovingMask(MovingMask):
    """RigL and SET at the clients: each moves the mask as it trains, and the server takes the best of all."""

    adjust_after: int = option(
        0,
        "passes over its data after which a client moves the mask",
        allowed=NOT_NEGATIVE,
        paper="0 (code)",
    )
    exclude_dropped: bool = option(False, "what was just dropped may not grow again (SET as in textbooks)")


ENTRIES = (
    Entry(
        name="rigl",
        summary="clients drop their smallest weights and grow those of largest gradient; the server prunes the union",
        factory="fedjax_sparse.baselines.rigl:rigl",
        hyperparameters=ClientMovingMask,
        system="RigL",
        references=("evci2020rigl",),
        sparse=("server", "deployed"),
        reconstructed=True,
        follows_length=True,
        state="both",
        up="its living entries, and where they are in rounds in which its mask moved",
        down="the model's living entries, and where they are if that is news",
    ),
    Entry(
        name="set",
        summary="clients drop their smallest weights and grow random ones; the server prunes the union",
        factory="fedjax_sparse.baselines.rigl:sparse_evolutionary_training",
        hyperparameters=ClientMovingMask,
        system="SET",
        references=("mocanu2018set",),
        sparse=("server", "deployed"),
        reconstructed=True,
        follows_length=True,
        state="both",
        up="its living entries, and where they are in rounds in which its mask moved",
        down="the model's living entries, and where they are if that is news",
    ),
)
