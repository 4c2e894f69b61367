"""LotteryFL: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import PROBABILITY, Range, option


@dataclass(frozen=True)
class LotteryFL(Hyperparameters):
    """LotteryFL: each client searches its lottery ticket, a part of the common initial model."""

    prune_percent: float = option(
        20.0,
        "percent of the living weights of each kernel that one pruning takes",
        allowed=Range(low=0, high=100, high_open=True),
        paper="20",
    )
    target_density: float = option(
        0.5,
        "a client whose nominal density, (1 - prune_percent / 100) to the number of its prunings, is no higher does "
        "not prune any more",
        allowed=PROBABILITY,
        paper="0.1, 0.5",
    )
    least_accuracy: float = option(
        0.2,
        "accuracy of the received part on the client's own training examples above which it prunes",
        allowed=PROBABILITY,
        paper="0.2",
    )


ENTRIES = (
    Entry(
        name="lotteryfl",
        summary="each client prunes its part of the model, which it then trains anew from the common first weights",
        factory="fedjax_sparse.baselines.lotteryfl:lotteryfl",
        hyperparameters=LotteryFL,
        system="LotteryFL",
        references=("li2020lotteryfl",),
        state="both",
        up="its living entries, and its mask where that changed",
        down="the entries under its mask",
        sparse=("personal",),
        unused=SERVER_OPTIMIZER,
    ),
)
