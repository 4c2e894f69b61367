"""Static masks, random or by magnitude: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import SPARSITY, option


@dataclass(frozen=True)
class StaticMask(Hyperparameters):
    """A mask that is drawn before training and never moves."""

    sparsity: float = option(
        0.9, "fraction of zeros among the kernels", allowed=SPARSITY, paper="0.8, 0.9, 0.95"
    )
    allocation: Literal["uniform", "er", "erk"] = option(
        "uniform", "how layers share the living entries: alike, or by the sum of their dimensions"
    )
    by: Literal["random", "magnitude"] = option(
        "random", "which entries of a layer live: random ones, or the largest initial weights"
    )


@dataclass(frozen=True)
class StaticERK(StaticMask):
    """A static mask whose layers share the living entries by Erdős-Rényi-kernel."""

    allocation: Literal["uniform", "er", "erk"] = option(
        "erk", "how layers share the living entries: alike, or by the sum of their dimensions", paper="erk"
    )


ENTRIES = (
    Entry(
        name="static-random",
        summary="federated averaging under one random mask, every layer equally sparse",
        factory="fedjax_sparse.baselines.static_mask:static_mask",
        hyperparameters=StaticMask,
        system="Static masks",
        references=("evci2020rigl",),
        state="server",
        up="the model's living entries",
        down="the model's living entries",
        sparse=("server", "deployed"),
    ),
    Entry(
        name="static-erk",
        summary="federated averaging under one random mask, layers as dense as Erdős-Rényi-kernel says",
        factory="fedjax_sparse.baselines.static_mask:static_mask",
        hyperparameters=StaticERK,
        system="Static masks",
        references=("evci2020rigl",),
        state="server",
        up="the model's living entries",
        down="the model's living entries",
        sparse=("server", "deployed"),
    ),
)
