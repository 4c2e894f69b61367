"""Random-k: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.cards.error_feedback import PERCENT_KEPT
from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import option


@dataclass(frozen=True)
class RandomK(Hyperparameters):
    """Random-k: entries drawn uniformly without replacement."""

    keep_percent: float = option(1.0, "percent of the update's entries that is sent", allowed=PERCENT_KEPT)
    layerwise: bool = option(False, "draw that percentage of each tensor, not of all tensors together")
    unbiased: bool = option(
        False,
        "scale what is sent by d / k and remember nothing; else what was not sent is added the next time",
    )
    common_mask: bool = option(False, "all clients of a round draw the same entries")
    positions: Literal["seed", "derived", "indices"] = option(
        "seed",
        "how the server knows what was drawn: a seed of 64 bits is sent, it derives the seed itself at no cost, or "
        "every position is sent",
    )


ENTRIES = (
    Entry(
        name="random-k",
        summary="entries drawn at random, with what was not sent added the next time, or scaled up",
        factory="fedjax_sparse.baselines.random_k:random_k",
        hyperparameters=RandomK,
        system="Random-k",
        references=("stich2018sparsified",),
        state="both",
        up="random entries of its update, and where they are or a seed",
        down="the model",
        sparse=("upload",),
    ),
)
