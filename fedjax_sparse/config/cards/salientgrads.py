"""SalientGrads and SSFL: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, SPARSITY, option


@dataclass(frozen=True)
class SalientGrads(Hyperparameters):
    """SalientGrads: one mask from the saliencies of all clients, found before training."""

    sparsity: float = option(
        0.5, "fraction of zeros of the mask", allowed=SPARSITY, paper="0.5, 0.7, 0.8, 0.9, 0.95"
    )
    saliency_batches: int = option(
        1,
        "minibatches on which each client scores the weights, I",
        allowed=AT_LEAST_ONE,
        paper="1, 20, 50, 100",
    )
    saliency_weighting: Literal["uniform", "examples"] = option(
        "uniform", "how much a client's scores count", paper="uniform"
    )
    saliency_loss: Literal["cross-entropy", "logit"] = option(
        "cross-entropy", "the model's loss, or minus the mean logit of the true class (official code)"
    )
    saliency_mode: Literal["train", "eval"] = option(
        "train", "whether dropout and batch statistics are on or off when clients score the weights"
    )
    allocation: Literal["global", "erk"] = option(
        "global", "all layers in one ranking, or a share for each layer", paper="global"
    )
    upload: Literal["weights", "updates"] = option(
        "weights", "what is counted as sent: living weights, or those that changed, with positions"
    )
    clip_living: bool = option(
        False, "clip the norm of the masked gradient, not of the whole (SSFL)", paper="no"
    )
    dense_start: bool = option(False, "round 1 starts from dense weights (official code)")
    keep_ties: bool = option(False, "keep every entry as large as the smallest one kept (official code)")


@dataclass(frozen=True)
class SSFL(SalientGrads):
    """SSFL: SalientGrads as its authors have it later."""

    saliency_weighting: Literal["uniform", "examples"] = option(
        "examples", "how much a client's scores count", paper="examples"
    )
    saliency_mode: Literal["train", "eval"] = option(
        "eval",
        "whether dropout and batch statistics are on or off when clients score the weights",
        paper="eval",
    )
    clip_living: bool = option(True, "clip the norm of the masked gradient, not of the whole", paper="yes")
    keep_ties: bool = option(True, "keep every entry as large as the smallest one kept", paper="yes")


ENTRIES = (
    Entry(
        name="salientgrads",
        summary="a mask from the saliencies of all clients, found before training and then fixed",
        factory="fedjax_sparse.algorithms.salientgrads:salientgrads",
        hyperparameters=SalientGrads,
        system="SalientGrads",
        role="system",
        references=("ohib2023salientgrads",),
        state="server",
        up="saliencies once, then the model's living entries",
        down="the model and the mask once, then the model's living entries",
        sparse=("server", "deployed"),
    ),
    Entry(
        name="ssfl",
        summary="SalientGrads with saliencies weighted by examples and masked gradients clipped",
        factory="fedjax_sparse.algorithms.salientgrads:salientgrads",
        hyperparameters=SSFL,
        system="SalientGrads",
        role="system",
        references=("ohib2024ssfl", "ohib2023salientgrads"),
        state="server",
        up="saliencies once, then the model's living entries",
        down="the model and the mask once, then the model's living entries",
        sparse=("server", "deployed"),
    ),
)
