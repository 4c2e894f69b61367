"""Complement Sparsification: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters
from fedjax_sparse.config.options import POSITIVE, Range, option


@dataclass(frozen=True)
class ComplementSparsification(Hyperparameters):
    """Complement Sparsification: the server prunes, clients send what it lacks."""

    sparsity: float = option(
        0.5,
        "fraction of each kernel that the server prunes in every round; with none, kernels would freeze",
        allowed=Range(0, 1, low_open=True, high_open=True),
        paper="0.5",
    )
    complement_step: float = option(
        1.5, "factor on the mean of what clients send of kernels", allowed=POSITIVE, paper="1.5"
    )


ENTRIES = (
    Entry(
        name="complement-sparsification",
        summary="the server prunes its model in every round; clients send only what it then lacks",
        factory="fedjax_sparse.baselines.complement_sparsification:complement_sparsification",
        hyperparameters=ComplementSparsification,
        system="Complement Sparsification",
        references=("jiang2023complement",),
        state="server",
        up="the entries that the server's model lacks",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        unused=SERVER_OPTIMIZER,
    ),
)
