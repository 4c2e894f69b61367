"""Ditto: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, option


@dataclass(frozen=True)
class Ditto(Hyperparameters):
    """Ditto: a personal model beside federated averaging."""

    lam: float = option(
        0.5, "strength of lambda/2 ||v - w||^2", allowed=NOT_NEGATIVE, paper="0.05, 0.1, 0.5, 1, 2"
    )
    personal_epochs: int = option(
        3, "passes over a client's data for its personal model", allowed=AT_LEAST_ONE
    )
    pull: Literal["after-step", "in-gradient"] = option(
        "after-step",
        "whether the personal model is pulled after each step (official code) or by its gradient, within the clip",
    )


ENTRIES = (
    Entry(
        name="ditto",
        summary="federated averaging, and beside it a personal model that is pulled towards the server's",
        factory="fedjax_sparse.baselines.ditto:ditto",
        hyperparameters=Ditto,
        system="Ditto",
        references=("li2021ditto",),
        state="both",
        up="the model",
        down="the model",
    ),
)
