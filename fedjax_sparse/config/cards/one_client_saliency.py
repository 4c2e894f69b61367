"""SNIP and GraSP on one client: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import SPARSITY, option


@dataclass(frozen=True)
class OneClientSaliency(Hyperparameters):
    """SNIP and GraSP: one mask from one client's first batch, found before training."""

    sparsity: float = option(
        0.9, "fraction of zeros of the mask", allowed=SPARSITY, paper="0.8, 0.85, 0.9, 0.95, 0.99"
    )
    scope: Literal["kernels", "no-norms", "all"] = option(
        "kernels",
        "what may be pruned: kernels, everything but norms (official code of SNIP), or all (of GraSP)",
    )
    saliency_mode: Literal["eval", "train"] = option(
        "eval", "whether dropout and batch statistics are off or on when weights are scored", paper="eval"
    )
    keep_ties: bool = option(False, "keep every entry as large as the smallest one kept (official code)")
    mask_from_values: bool = option(
        False, "what is zero at the start stays zero: biases, shifts of norms (official code)"
    )


ENTRIES = (
    Entry(
        name="snip",
        summary="a fixed mask from |w g| on one client's first batch",
        factory="fedjax_sparse.baselines.one_client_saliency:snip",
        hyperparameters=OneClientSaliency,
        system="SNIP",
        references=("lee2019snip", "stripelis2022fedsparsify"),
        state="server",
        up="saliencies of one client once, then the model's living entries",
        down="the mask once, then the model's living entries",
        sparse=("server", "deployed"),
    ),
    Entry(
        name="grasp",
        summary="a fixed mask from w H g on one client's first batch",
        factory="fedjax_sparse.baselines.one_client_saliency:grasp",
        hyperparameters=OneClientSaliency,
        system="GraSP",
        references=("wang2020grasp", "stripelis2022fedsparsify"),
        state="server",
        up="saliencies of one client once, then the model's living entries",
        down="the mask once, then the model's living entries",
        sparse=("server", "deployed"),
    ),
)
