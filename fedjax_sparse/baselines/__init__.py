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
    Entry(
        name="fedprox",
        summary="federated averaging with a proximal term in local training",
        factory="fedjax_sparse.baselines.fedavg:fedprox",
        hyperparameters=hyperparameters.FedProx,
        system="FedProx",
        references=("li2020fedprox",),
    ),
    Entry(
        name="error-correction",
        summary="top-K of each tensor, with what was not sent added the next time",
        factory="fedjax_sparse.baselines.error_feedback:error_correction",
        hyperparameters=hyperparameters.ErrorFeedback,
        system="Error correction",
        references=("stich2018sparsified", "greidi2023flare"),
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
    Entry(
        name="ef21",
        summary="top-K of the change since what the server knows of each client",
        factory="fedjax_sparse.baselines.error_feedback:ef21",
        hyperparameters=hyperparameters.EF21,
        system="EF21",
        references=("richtarik2021ef21", "fatkhullin2021ef21"),
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
    Entry(
        name="fedprox-error-correction",
        summary="error correction with a proximal term in local training",
        factory="fedjax_sparse.baselines.error_feedback:fedprox_error_correction",
        hyperparameters=hyperparameters.FedProxErrorCorrection,
        system="FedProx",
        references=("li2020fedprox", "greidi2023flare"),
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
    Entry(
        name="ffl",
        summary="error correction that sends more and trains less as the loss falls",
        factory="fedjax_sparse.baselines.error_feedback:ffl",
        hyperparameters=hyperparameters.FFL,
        system="FFL",
        references=("nori2021ffl", "greidi2023flare"),
        sparse=("upload",),
        overrides={"weighting": "uniform"},
    ),
)
