"""Sparse-ProxSkip, its parents and its relatives: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import LOCAL_WORK, SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import NOT_NEGATIVE, SPARSITY, Range, option


@dataclass(frozen=True)
class TopK(Hyperparameters):
    """TopK of a model: its weights of largest magnitude are kept."""

    sparsity: float = option(0.9, "fraction of zeros after TopK", allowed=SPARSITY)
    scope: Literal["all", "kernels"] = option(
        "kernels", "what may be pruned: kernels only, or all trainable scalars"
    )
    layerwise: bool = option(False, "prune every leaf to the sparsity, not all leaves together")


@dataclass(frozen=True)
class Scaffnew(Hyperparameters):
    """Scaffnew: a coin decides after every local step whether clients communicate.

    That sets a round's local steps: `--local-epochs` and `--local-steps` are not used.
    """

    probability: float = option(
        0.1,
        "chance p that a local step communicates: a round has 1/p local steps on average",
        allowed=Range(low=0, high=1, low_open=True),
        paper="1 / sqrt(condition number)",
    )
    coin: Literal["bernoulli", "fixed"] = option(
        "bernoulli",
        "a round ends when a coin shared by all clients says so, or always after 1/p steps",
        paper="bernoulli",
    )


@dataclass(frozen=True)
class TopKScaffnew(TopK, Scaffnew):
    """Scaffnew with TopK somewhere."""


@dataclass(frozen=True)
class SparseProxSkip(TopKScaffnew):
    """Sparse-ProxSkip and Sparse-ProxSkip-Local."""

    variant: Literal["v1", "v2"] = option(
        "v1", "the paper's version: v2 takes local gradients at the pruned model (straight-through)"
    )


@dataclass(frozen=True)
class RandProx(Scaffnew):
    """Scaffnew for a convex problem with an l1 term."""

    l1: float = option(0.003, "lambda, the weight of the l1 norm in the objective", allowed=NOT_NEGATIVE)
    scope: Literal["all", "kernels"] = option(
        "kernels", "what the l1 norm covers: kernels only, or all trainable scalars"
    )


# Control variates sum to zero over all clients, equally weighted; a coin sets the steps, and the mean is the model.
EVERYONE = {"cohort_size": "all", "weighting": "uniform"}
SET_BY_COIN_AND_MEAN = (*LOCAL_WORK, *SERVER_OPTIMIZER)

ENTRIES = (
    Entry(
        name="sparse-proxskip",
        summary="local training with control variates; clients send the top-K of their models",
        factory="fedjax_sparse.algorithms.sparse_proxskip:sparse_proxskip",
        hyperparameters=SparseProxSkip,
        system="Sparse-ProxSkip",
        role="system",
        references=("meinhardt2024sparseproxskip", "mishchenko2022proxskip"),
        state="both",
        up="the largest entries of its model, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "deployed"),
        reconstructed=True,
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="sparse-proxskip-local",
        summary="Sparse-ProxSkip with top-K of the model after every local step",
        factory="fedjax_sparse.algorithms.sparse_proxskip:sparse_proxskip_local",
        hyperparameters=SparseProxSkip,
        system="Sparse-ProxSkip",
        role="system",
        references=("meinhardt2024sparseproxskip", "mishchenko2022proxskip"),
        state="both",
        up="the entries of its model that survive, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "deployed"),
        reconstructed=True,
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="scaffnew",
        summary="dense local training with control variates: exact on clients that differ",
        factory="fedjax_sparse.algorithms.sparse_proxskip:scaffnew",
        hyperparameters=Scaffnew,
        system="Sparse-ProxSkip",
        references=("mishchenko2022proxskip",),
        state="both",
        up="the model",
        down="the model",
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="sparse-proxskip-server-naive",
        summary="Scaffnew with top-K at the server; control variates drift with it",
        factory="fedjax_sparse.algorithms.sparse_proxskip:server_naive",
        hyperparameters=TopKScaffnew,
        system="Sparse-ProxSkip",
        references=("meinhardt2024sparseproxskip",),
        state="both",
        up="the model",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        reconstructed=True,
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="sparse-proxskip-server-modified",
        summary="Scaffnew with top-K at the server; control variates follow the dense mean",
        factory="fedjax_sparse.algorithms.sparse_proxskip:server_modified",
        hyperparameters=TopKScaffnew,
        system="Sparse-ProxSkip",
        references=("meinhardt2024sparseproxskip",),
        state="both",
        up="the model",
        down="the model",
        sparse=("server", "deployed"),
        reconstructed=True,
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="randprox-l1",
        summary="Scaffnew with soft thresholding at the clients: exact for an l1 term",
        factory="fedjax_sparse.algorithms.sparse_proxskip:randprox_l1",
        hyperparameters=RandProx,
        system="Sparse-ProxSkip",
        references=("condat2023randprox",),
        state="both",
        up="the entries of its model that survive, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload",),
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="proxskip-l1",
        summary="ProxSkip with soft thresholding at the server: exact for an l1 term",
        factory="fedjax_sparse.algorithms.sparse_proxskip:proxskip_l1",
        hyperparameters=RandProx,
        system="Sparse-ProxSkip",
        references=("mishchenko2022proxskip",),
        state="both",
        up="the model",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="fedcomloc-com",
        summary="FedComLoc: Scaffnew in which clients send the top-K of their models",
        factory="fedjax_sparse.algorithms.sparse_proxskip:fedcomloc_com",
        hyperparameters=TopKScaffnew,
        system="FedComLoc",
        references=("yi2024fedcomloc",),
        state="both",
        up="the largest entries of its model, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "deployed"),
        reconstructed=True,
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="fedcomloc-local",
        summary="FedComLoc: Scaffnew with gradients at the top-K of the model",
        factory="fedjax_sparse.algorithms.sparse_proxskip:fedcomloc_local",
        hyperparameters=TopKScaffnew,
        system="FedComLoc",
        references=("yi2024fedcomloc",),
        state="both",
        up="the model",
        down="the model",
        sparse=("deployed",),
        reconstructed=True,
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="fedcomloc-global",
        summary="FedComLoc: Scaffnew with top-K of the mean at the server",
        factory="fedjax_sparse.algorithms.sparse_proxskip:server_naive",
        hyperparameters=TopKScaffnew,
        system="FedComLoc",
        references=("yi2024fedcomloc",),
        state="both",
        up="the model",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        reconstructed=True,
        overrides=EVERYONE,
        unused=SET_BY_COIN_AND_MEAN,
    ),
    Entry(
        name="fedavg-client-topk",
        summary="FedAvg in which clients send the top-K of their models",
        factory="fedjax_sparse.algorithms.sparse_proxskip:fedavg_client_topk",
        hyperparameters=TopK,
        system="FedAvg",
        references=("mcmahan2017fedavg", "meinhardt2024sparseproxskip"),
        state="server",
        up="the largest entries of its model, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "deployed"),
        unused=SERVER_OPTIMIZER,
    ),
    Entry(
        name="fedavg-server-topk",
        summary="FedAvg with top-K of the mean at the server",
        factory="fedjax_sparse.algorithms.sparse_proxskip:fedavg_server_topk",
        hyperparameters=TopK,
        system="FedAvg",
        references=("mcmahan2017fedavg", "meinhardt2024sparseproxskip"),
        state="server",
        up="the model",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        unused=SERVER_OPTIMIZER,
    ),
)
