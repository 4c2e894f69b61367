"""SpaFL: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import NOT_NEGATIVE, option


@dataclass(frozen=True)
class SpaFL(Hyperparameters):
    """SpaFL: clients share thresholds, one of each filter, and keep their weights."""

    threshold_penalty: float = option(
        0.002,
        "strength of sum exp(-threshold) in the clients' loss, which raises thresholds",
        allowed=NOT_NEGATIVE,
        paper="0.00015, 0.0007, 0.002",
    )
    window: Literal["always", "outside-one"] = option(
        "always",
        "which filters pass their mask's gradient on: all, or those whose mean weight and threshold are more than 1 "
        "apart (the official code for CIFAR)",
    )


ENTRIES = (
    Entry(
        name="spafl",
        summary="clients keep their weights and share trained thresholds, one of each filter, which prune filters",
        factory="fedjax_sparse.baselines.spafl:spafl",
        hyperparameters=SpaFL,
        system="SpaFL",
        references=("kim2024spafl",),
        state="both",
        up="a threshold of each filter",
        down="a threshold of each filter; to everyone, how it changed",
        sparse=("personal",),
        unused=SERVER_OPTIMIZER,
        follows_length=True,
    ),
)
