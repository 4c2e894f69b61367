"""The sparse federated systems: their table for the registry. Their code is imported only when it is run."""

from __future__ import annotations

from fedjax_sparse import hyperparameters
from fedjax_sparse.entry import Entry

ENTRIES = (
    Entry(
        name="fedsparsify-global",
        summary="the server prunes its aggregated model by magnitude, a little more every round",
        factory="fedjax_sparse.algorithms.fedsparsify:fedsparsify_global",
        hyperparameters=hyperparameters.FedSparsifyGlobal,
        system="FedSparsify",
        references=("stripelis2022fedsparsify",),
        sparse=("server", "deployed"),
    ),
    Entry(
        name="flare",
        summary="top-K of each tensor with residuals, towards which clients are pulled as they train",
        factory="fedjax_sparse.algorithms.flare:flare",
        hyperparameters=hyperparameters.Flare,
        system="FLARE",
        references=("greidi2023flare",),
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
)
