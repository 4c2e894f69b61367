"""SCAFFOLD: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import option


@dataclass(frozen=True)
class Scaffold(Hyperparameters):
    """SCAFFOLD: the server's step size is `--server-lr`, the clients' own `--client-lr`."""

    control_option: Literal["I", "II"] = option(
        "II",
        "how clients renew their control variates: I, the gradient over all their data at the server's model; "
        "II, from the steps that they took",
        paper="II",
    )
    first_control: Literal["zero", "model"] = option(
        "zero", "what all control variates are before round 1: zero, or one random network (NIID-Bench)"
    )
    control_rate: Literal["current", "first"] = option(
        "current", "the learning rate that option II divides by: this round's, or round 1's (FedDyn's code)"
    )
    control_weights: Literal["uniform", "examples"] = option(
        "uniform", "what a client counts in the server's control variate (examples: FedDyn's code)"
    )


ENTRIES = (
    Entry(
        name="scaffold",
        summary="local training corrected by control variates of clients and server, which travel too",
        factory="fedjax_sparse.baselines.scaffold:scaffold",
        hyperparameters=Scaffold,
        system="SCAFFOLD",
        references=("karimireddy2020scaffold",),
        state="both",
        up="the model and a control variate",
        down="the model and a control variate",
        overrides={"weighting": "uniform"},
    ),
)
