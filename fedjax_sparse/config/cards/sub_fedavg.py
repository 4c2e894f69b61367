"""Sub-FedAvg: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import NOT_NEGATIVE, PROBABILITY, Range, option


@dataclass(frozen=True)
class SubFedAvg(Hyperparameters):
    """Sub-FedAvg: each client prunes its own part of the server's model."""

    prune_percent: float = option(
        5.0,
        "percent of the living weights of each kernel that one pruning takes",
        allowed=Range(low=0, high=100, high_open=True),
        paper="5, 10",
    )
    target_density: float = option(
        0.5, "a mask that is no denser is not pruned any more", allowed=PROBABILITY, paper="0.3, 0.5"
    )
    least_distance: float = option(
        1e-4,
        "mean share of differing entries between the masks after the first and the last epoch above which a client "
        "prunes",
        allowed=NOT_NEGATIVE,
        paper="0.0001",
    )
    least_accuracy: float = option(
        0.5,
        "accuracy on its own training examples above which a client prunes",
        allowed=PROBABILITY,
        paper="0.5",
    )
    upload_pruned: bool = option(
        True, "the round's pruning is applied to what is sent; else it waits for the next round", paper="yes"
    )


ENTRIES = (
    Entry(
        name="sub-fedavg",
        summary="each client prunes its own part of the server's model; a mean over those who hold an entry",
        factory="fedjax_sparse.baselines.sub_fedavg:sub_fedavg",
        hyperparameters=SubFedAvg,
        system="Sub-FedAvg",
        references=("vahidian2021subfedavg",),
        state="both",
        up="its living entries, and its mask where that changed",
        down="the entries under its mask",
        sparse=("personal",),
        unused=SERVER_OPTIMIZER,
    ),
)
