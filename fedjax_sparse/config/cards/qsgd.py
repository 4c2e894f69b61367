"""QSGD: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, Range, option


@dataclass(frozen=True)
class QSGD(Hyperparameters):
    """QSGD: random rounding to a few levels."""

    levels: int = option(15, "s, levels beside zero", allowed=Range(low=1, high=65535))
    bucket: int | Literal["all"] = option(
        512, "entries that share a norm", allowed=AT_LEAST_ONE, paper="512, 8192"
    )
    scale: Literal["l2", "max"] = option("l2", "the norm of a bucket: Euclidean, or its largest magnitude")
    layerwise: bool = option(False, "cut each tensor into buckets, not all tensors as one vector")
    coding: Literal["fixed", "elias-sparse", "elias-dense"] = option(
        "fixed", "how levels are written: all in the same number of bits, or in Elias codes"
    )


ENTRIES = (
    Entry(
        name="qsgd",
        summary="updates rounded at random to a few levels, so that their mean stays",
        factory="fedjax_sparse.baselines.qsgd:qsgd",
        hyperparameters=QSGD,
        system="QSGD",
        references=("alistarh2017qsgd",),
        state="server",
        up="its update in a few levels, coded",
        down="the model",
    ),
)
