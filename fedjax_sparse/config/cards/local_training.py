"""Local training without communication: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.entry import SERVER_OPTIMIZER, Entry, Hyperparameters


@dataclass(frozen=True)
class LocalTraining(Hyperparameters):
    """It has none of its own."""


ENTRIES = (
    Entry(
        name="local-training",
        summary="every client trains alone, and nothing is ever sent",
        factory="fedjax_sparse.baselines.local_training:local_training",
        hyperparameters=LocalTraining,
        system="Local training",
        references=("mcmahan2017fedavg",),
        state="both",
        up="nothing",
        down="nothing",
        overrides={"cohort_size": "all"},
        unused=("weighting", *SERVER_OPTIMIZER),
        communicates=False,
    ),
)
