"""The sparse federated systems: their table for the registry. Their code is imported only when it is run."""

from __future__ import annotations

from fedjax_sparse import hyperparameters
from fedjax_sparse.entry import LOCAL_WORK, SERVER_OPTIMIZER, Entry

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
        name="fedsparsify-local",
        summary="clients prune what they trained, more every round; a majority decides what stays",
        factory="fedjax_sparse.algorithms.fedsparsify:fedsparsify_local",
        hyperparameters=hyperparameters.FedSparsifyLocal,
        system="FedSparsify",
        references=("stripelis2022fedsparsify",),
        sparse=("upload", "server", "deployed"),
        reconstructed_options=("--fine-tuning-epochs",),
    ),
    Entry(
        name="salientgrads",
        summary="a mask from the saliencies of all clients, found before training and then fixed",
        factory="fedjax_sparse.algorithms.salientgrads:salientgrads",
        hyperparameters=hyperparameters.SalientGrads,
        system="SalientGrads",
        references=("ohib2023salientgrads",),
        sparse=("server", "deployed"),
    ),
    Entry(
        name="ssfl",
        summary="SalientGrads with saliencies weighted by examples and masked gradients clipped",
        factory="fedjax_sparse.algorithms.salientgrads:salientgrads",
        hyperparameters=hyperparameters.SSFL,
        system="SalientGrads",
        references=("ohib2024ssfl", "ohib2023salientgrads"),
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
    Entry(
        name="sparse-proxskip",
        summary="local training with control variates; clients send the top-K of their models",
        factory="fedjax_sparse.algorithms.sparse_proxskip:sparse_proxskip",
        hyperparameters=hyperparameters.SparseProxSkip,
        system="Sparse-ProxSkip",
        references=("meinhardt2024sparseproxskip", "mishchenko2022proxskip"),
        sparse=("upload", "deployed"),
        reconstructed=True,
        overrides={"cohort_size": "all", "weighting": "uniform"},
        unused=(*LOCAL_WORK, *SERVER_OPTIMIZER),
    ),
    Entry(
        name="sparse-proxskip-local",
        summary="Sparse-ProxSkip with top-K of the model after every local step",
        factory="fedjax_sparse.algorithms.sparse_proxskip:sparse_proxskip_local",
        hyperparameters=hyperparameters.SparseProxSkip,
        system="Sparse-ProxSkip",
        references=("meinhardt2024sparseproxskip", "mishchenko2022proxskip"),
        sparse=("upload", "deployed"),
        reconstructed=True,
        overrides={"cohort_size": "all", "weighting": "uniform"},
        unused=(*LOCAL_WORK, *SERVER_OPTIMIZER),
    ),
    Entry(
        name="sparsyfed",
        summary="clients train powers of their parameters, prune them, and send the survivors",
        factory="fedjax_sparse.algorithms.sparsyfed:sparsyfed",
        hyperparameters=hyperparameters.SparsyFed,
        system="SparsyFed",
        references=("guastella2025sparsyfed", "schwarz2021powerpropagation", "raihan2020swat"),
        sparse=("upload", "deployed"),
        reconstructed_options=("--beta spectral",),
        overrides={"client_lr": 0.5},  # the paper's: small parameters move slowly
    ),
)
