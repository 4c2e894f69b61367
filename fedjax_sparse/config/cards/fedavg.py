"""FedAvg, FedProx, FedAvgM, FedAdagrad, FedAdam and FedYogi: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import FRACTION, NOT_NEGATIVE, POSITIVE, option


@dataclass(frozen=True)
class FedAvg(Hyperparameters):
    """FedAvg has none of its own."""


@dataclass(frozen=True)
class FedProx(Hyperparameters):
    """FedProx: FedAvg with a proximal term in local training."""

    mu: float = option(
        0.01, "strength of mu/2 ||w - W||^2", allowed=NOT_NEGATIVE, paper="0.001, 0.01, 0.1, 1"
    )


@dataclass(frozen=True)
class FedAvgM(Hyperparameters):
    """FedAvgM: momentum at the server, in place of its own optimizer."""

    eta: float = option(1.0, "the server's learning rate", allowed=POSITIVE, paper="1")
    beta: float = option(0.9, "the server's momentum", allowed=FRACTION, paper="0.7, 0.9, 0.97, 0.99, 0.997")


@dataclass(frozen=True)
class FedOpt(Hyperparameters):
    """An adaptive optimizer at the server, in place of its own."""

    eta: float = option(0.01, "the server's learning rate", allowed=POSITIVE, paper="tuned")
    b1: float | None = option(
        None, "of m; by default 0.9, or 0 for Adagrad", allowed=FRACTION, paper="0.9, 0"
    )
    tau: float | None = option(
        None, "added to the root of v; by default 1e-3, or that of the code", allowed=POSITIVE, paper="0.001"
    )


@dataclass(frozen=True)
class FedAdagrad(FedOpt):
    """FedAdagrad."""

    variant: Literal["paper", "flower", "tff"] = option("paper", "as the paper or a code has it")


@dataclass(frozen=True)
class Decaying(FedOpt):
    """One whose v forgets."""

    b2: float | None = option(
        None, "of v; by default 0.99, or that of the code", allowed=FRACTION, paper="0.99"
    )


@dataclass(frozen=True)
class FedAdam(Decaying):
    """FedAdam."""

    variant: Literal["paper", "flower", "tff", "optax"] = option("paper", "as the paper or a code has it")


@dataclass(frozen=True)
class FedYogi(Decaying):
    """FedYogi."""

    variant: Literal["paper", "flower", "tff", "keras"] = option("paper", "as the paper or a code has it")


ENTRIES = (
    Entry(
        name="fedavg",
        summary="dense federated averaging; the server's step is SGD, momentum, Adagrad, Adam or Yogi",
        factory="fedjax_sparse.baselines.fedavg:fedavg",
        hyperparameters=FedAvg,
        system="FedAvg",
        references=("mcmahan2017fedavg", "reddi2021adaptive"),
        state="server",
        up="the model",
        down="the model",
        plain_sgd=True,
    ),
    Entry(
        name="fedprox",
        summary="federated averaging with a proximal term in local training",
        factory="fedjax_sparse.baselines.fedavg:fedprox",
        hyperparameters=FedProx,
        system="FedProx",
        references=("li2020fedprox",),
        state="server",
        up="the model",
        down="the model",
        plain_sgd=True,
    ),
    Entry(
        name="fedavgm",
        summary="federated averaging with momentum at the server",
        factory="fedjax_sparse.baselines.fedavg:fedavgm",
        hyperparameters=FedAvgM,
        system="FedAvg",
        references=("hsu2019measuring",),
        state="server",
        up="the model",
        down="the model",
        plain_sgd=True,
        unused=SERVER_OPTIMIZER,
    ),
    Entry(
        name="fedadagrad",
        summary="federated averaging with Adagrad at the server",
        factory="fedjax_sparse.baselines.fedavg:fedadagrad",
        hyperparameters=FedAdagrad,
        system="FedOpt",
        references=("reddi2021adaptive",),
        state="server",
        up="the model",
        down="the model",
        plain_sgd=True,
        unused=SERVER_OPTIMIZER,
    ),
    Entry(
        name="fedadam",
        summary="federated averaging with Adam at the server",
        factory="fedjax_sparse.baselines.fedavg:fedadam",
        hyperparameters=FedAdam,
        system="FedOpt",
        references=("reddi2021adaptive",),
        state="server",
        up="the model",
        down="the model",
        plain_sgd=True,
        unused=SERVER_OPTIMIZER,
    ),
    Entry(
        name="fedyogi",
        summary="federated averaging with Yogi at the server",
        factory="fedjax_sparse.baselines.fedavg:fedyogi",
        hyperparameters=FedYogi,
        system="FedOpt",
        references=("reddi2021adaptive",),
        state="server",
        up="the model",
        down="the model",
        plain_sgd=True,
        unused=SERVER_OPTIMIZER,
    ),
)
