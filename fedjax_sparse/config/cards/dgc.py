"""Deep Gradient Compression: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import NOT_NEGATIVE, Range, option


@dataclass(frozen=True)
class DGC(Hyperparameters):
    """Deep Gradient Compression: its momentum is its own; `--client-momentum` stays 0."""

    ratio: float = option(
        0.001, "share of a tensor's entries that is sent", allowed=Range(0, 1, low_open=True), paper="0.001"
    )
    warm_up: int = option(0, "rounds in which that share falls from 1 to it", allowed=NOT_NEGATIVE, paper="4")
    momentum: float = option(
        0.9, "m, of the accumulated updates", allowed=Range(0, 1, high_open=True), paper="0.9"
    )
    nesterov: bool = option(False, "whether momentum is Nesterov's; else heavy-ball")
    masking: bool = option(True, "momentum factor masking: what is sent loses its momentum, too")
    server_weight_decay: float = option(
        0.0, "L2 decay at the server, with a momentum of its own", allowed=NOT_NEGATIVE
    )


ENTRIES = (
    Entry(
        name="dgc",
        summary="Deep Gradient Compression: top-K of momenta accumulated at the clients",
        factory="fedjax_sparse.baselines.dgc:dgc",
        hyperparameters=DGC,
        system="DGC",
        references=("lin2018dgc",),
        state="both",
        up="the largest entries of its momenta, and where they are",
        down="the model",
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
)
