"""ZeroFL and SWAT: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse import errors
from fedjax_sparse.config.cards.sparsyfed import LOG_MASKS
from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import PROBABILITY, SPARSITY, option


@dataclass(frozen=True)
class Swat(Hyperparameters):
    """SWAT: dense weights, of which each step uses the largest, with the largest activations."""

    sparsity: float = option(
        0.9,
        "fraction of zeros of weights and activations in local training",
        allowed=SPARSITY,
        paper="0.9, 0.95",
    )
    sparse_layers: Literal["hidden", "convolutions", "all"] = option(
        "hidden",
        "which layers: all but those that see the data, of these only convolutions wider than 1x1 (ZeroFL), or all",
        paper="convolutions",
    )


@dataclass(frozen=True)
class ZeroFL(Swat):
    """ZeroFL: SWAT at the clients, and uploads of the largest weights or changes."""

    mask_ratio: float = option(
        0.2,
        "r: the upload is less sparse than training, by so much",
        allowed=PROBABILITY,
        paper="0, 0.1, 0.2",
    )
    upload: Literal["weights", "diff-on-weights", "diff"] = option(
        "weights",
        "the largest weights, the changes of the largest weights, or the largest changes",
        paper="weights, diff-on-weights, diff",
    )
    upload_scope: Literal["global", "layer"] = option(
        "global", "the largest among all kernels together, or of each"
    )
    version: Literal["original", "sparsyfed"] = option(
        "original", "as published, or as SparsyFed's code has it: small weights are lost in each step"
    )
    log_masks: bool = option(False, LOG_MASKS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_ratio > self.sparsity:
            raise errors.UsageError(
                f"--mask-ratio = {self.mask_ratio} is above --sparsity = {self.sparsity}; allowed: at most that, "
                "where everything is sent"
            )


ENTRIES = (
    Entry(
        name="zerofl",
        summary="clients train sparsely on dense weights and send the largest of them, a little less sparse",
        factory="fedjax_sparse.baselines.zerofl:zerofl",
        hyperparameters=ZeroFL,
        system="ZeroFL",
        references=("qiu2022zerofl", "raihan2020swat"),
        sparse=("upload", "deployed"),
        state="server",
        up="its largest entries, and where they are",
        down="the model's living entries, and where they are",
    ),
    Entry(
        name="swat",
        summary="clients train with the largest weights and activations only; everything is sent",
        factory="fedjax_sparse.baselines.zerofl:swat",
        hyperparameters=Swat,
        system="SWAT",
        references=("raihan2020swat",),
        sparse=("deployed",),
        state="server",
        up="its whole model",
        down="the whole model",
    ),
)
