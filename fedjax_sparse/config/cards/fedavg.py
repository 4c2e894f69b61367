"""FedAvg and FedProx: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import NOT_NEGATIVE, option


@dataclass(frozen=True)
class FedAvg(Hyperparameters):
    """FedAvg has none of its own."""


@dataclass(frozen=True)
class FedProx(Hyperparameters):
    """FedProx: FedAvg with a proximal term in local training."""

    mu: float = option(
        0.01, "strength of mu/2 ||w - W||^2", allowed=NOT_NEGATIVE, paper="0.001, 0.01, 0.1, 1"
    )


ENTRIES = (
    Entry(
        name="fedavg",
        summary="dense federated averaging; the server's step is SGD, momentum, Adagrad, Adam or Yogi",
        factory="fedjax_sparse.baselines.fedavg:fedavg",
        hyperparameters=FedAvg,
        system="FedAvg",
        references=("mcmahan2017fedavg", "reddi2021adaptive"),
    ),
    Entry(
        name="fedprox",
        summary="federated averaging with a proximal term in local training",
        factory="fedjax_sparse.baselines.fedavg:fedprox",
        hyperparameters=FedProx,
        system="FedProx",
        references=("li2020fedprox",),
    ),
)
