"""FedRTS: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.cards.rigl import MovingMask
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.options import NOT_NEGATIVE, PROBABILITY, option


@dataclass(frozen=True)
class FedRTS(MovingMask):
    """FedRTS: the server draws the mask from what it has learned about each entry."""

    client_share: float = option(
        0.5, "what clients' own votes count beside the mean model, gamma", allowed=PROBABILITY, paper="0.5"
    )
    strength: float = option(10.0, "how much a round teaches, lambda", allowed=NOT_NEGATIVE, paper="10")


ENTRIES = (
    Entry(
        name="fedrts",
        summary="the server keeps a Beta posterior of each entry's worth and draws the mask from it",
        factory="fedjax_sparse.baselines.fedrts:fedrts",
        hyperparameters=FedRTS,
        system="FedRTS",
        references=("huang2025fedrts",),
        sparse=("server", "deployed"),
        reconstructed=True,
        follows_length=True,
        state="both",
        up="its living entries, and where it would have the mask in rounds in which that moves",
        down="the model's living entries, and where they are if that is news",
    ),
)
