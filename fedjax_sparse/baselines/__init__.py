"""The baselines that the sparse systems are compared with: their table for the registry."""

from __future__ import annotations

from fedjax_sparse import hyperparameters
from fedjax_sparse.entry import Entry

ENTRIES = (
    Entry(
        name="fedavg",
        summary="dense federated averaging; the server step is SGD, momentum or Adam",
        factory="fedjax_sparse.baselines.fedavg:fedavg",
        hyperparameters=hyperparameters.FedAvg,
        system="FedAvg",
        references=("mcmahan2017fedavg", "reddi2021adaptive"),
    ),
    Entry(
        name="random-pruning",
        summary="FedSparsify's schedule, with entries pruned in one random order",
        factory="fedjax_sparse.algorithms.fedsparsify:random_pruning",
        hyperparameters=hyperparameters.RandomPruning,
        system="FedSparsify",
        references=("stripelis2022fedsparsify",),
        sparse=("server", "deployed"),
    ),
)
