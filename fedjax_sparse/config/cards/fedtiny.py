"""FedTiny: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.cards.rigl import MovingMask
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import Range, option


@dataclass(frozen=True)
class FedTiny(MovingMask):
    """FedTiny: the server moves the mask by the mean of the clients' gradients."""

    candidates: int = option(
        1,
        "random masks among which clients choose before round 1, by the loss with batch-norm statistics of all",
        allowed=Range(low=1, high=100),
        paper="5",
    )
    progressive: bool = option(
        False, "clients send only their largest gradients outside the mask, as many as may grow", paper="yes"
    )


ENTRIES = (
    Entry(
        name="fedtiny",
        summary="the server drops the smallest mean weights and grows those of largest mean gradient",
        factory="fedjax_sparse.baselines.fedtiny:fedtiny",
        hyperparameters=FedTiny,
        system="FedTiny",
        references=("huang2023fedtiny",),
        sparse=("server", "deployed"),
        follows_length=True,
        state="both",
        up="its living entries, and a gradient in rounds in which the mask moves",
        down="the model's living entries, and where they are if that is news",
    ),
)
