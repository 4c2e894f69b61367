"""SNIP and GraSP at all clients: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, SPARSITY, option


@dataclass(frozen=True)
class AllClientSaliency(Hyperparameters):
    """SNIP and GraSP: one mask from the scores of all clients, found before training."""

    sparsity: float = option(
        0.9, "fraction of zeros of the mask, or of each client's own", allowed=SPARSITY, paper="0.9, 0.95"
    )
    saliency_batches: int = option(
        1, "minibatches over which each client averages its scores", allowed=AT_LEAST_ONE, paper="1"
    )
    saliency_mode: Literal["eval", "train"] = option(
        "train", "whether dropout and batch statistics are off or on when weights are scored", paper="train"
    )
    saliency_weighting: Literal["uniform", "examples"] = option(
        "uniform", "how much a client's scores count in their mean", paper="uniform"
    )
    merge: Literal["mean", "union"] = option(
        "mean", "the largest mean scores, or whatever is in some client's own mask (FedSparsify's code)"
    )
    keep_ties: bool = option(False, "keep every entry as large as the smallest one kept (official code)")


ENTRIES = (
    Entry(
        name="snip-all",
        summary="a fixed mask from the mean |w g| of all clients, that of salientgrads with its defaults",
        factory="fedjax_sparse.baselines.all_client_saliency:snip_all",
        hyperparameters=AllClientSaliency,
        system="SNIP",
        references=("lee2019snip", "stripelis2022fedsparsify"),
        state="server",
        up="saliencies once, then the model's living entries",
        down="the model and the mask once, then the model's living entries",
        sparse=("server", "deployed"),
    ),
    Entry(
        name="grasp-all",
        summary="a fixed mask from the mean w H g of all clients",
        factory="fedjax_sparse.baselines.all_client_saliency:grasp_all",
        hyperparameters=AllClientSaliency,
        system="GraSP",
        references=("wang2020grasp",),
        state="server",
        up="saliencies once, then the model's living entries",
        down="the model and the mask once, then the model's living entries",
        sparse=("server", "deployed"),
        reconstructed=True,
    ),
)
