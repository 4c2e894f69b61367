"""SparsyFed and its ablations: names, references and hyper-parameters."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from fedjax_sparse import errors
from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, SPARSITY, Range, option

LOG_MASKS = "log how far the masks of a cohort's clients agree; for at most 32 clients"


@dataclass(frozen=True)
class PrunedUploads(Hyperparameters):
    """Clients send their largest weights, chosen among all kernels together."""

    sparsity: float = option(
        0.95,
        "fraction of zeros among the kernels that a client sends",
        allowed=SPARSITY,
        paper="0.9, 0.95, 0.99, 0.995, 0.999",
    )
    log_masks: bool = option(False, LOG_MASKS, paper="yes")


@dataclass(frozen=True)
class TopKWeights(PrunedUploads):
    """Top-K weights: dense local training between the prunings."""


@dataclass(frozen=True)
class FixedMask(PrunedUploads):
    """Fixed mask: local training moves only what was received as non-zero."""

    freeze_zeros: bool = option(
        False, "official code: also biases and norm shifts that are zero are never trained"
    )


@dataclass(frozen=True)
class SparsyFed(PrunedUploads):
    """SparsyFed: Powerpropagation and activation pruning in local training."""

    beta: float | Literal["spectral"] = option(
        1.25,
        "exponent of the parameters, or one for each kernel by its spectral norm",
        allowed=AT_LEAST_ONE,
        paper="1.25, spectral",
    )
    activation_pruning: bool = option(
        True, "kernels learn from the largest inputs of their layers only", paper="yes, no"
    )
    activation_floor: float = option(
        1e-7,
        "fraction of a layer's inputs kept at least",
        allowed=Range(low=0, high=1, low_open=True),
        paper="1e-7 (code), 0.01 (at submission)",
    )
    tiers: str | None = option(
        None,
        "sparsity by client id, such as 40:0.9,100:0.99 for ids below 40 and 100",
        paper="three tiers of 40, 30 and 30 clients",
    )
    skip_downsample: bool = option(
        False, "official code: 1x1 convolutions keep plain parameters and all activations"
    )
    counting: Literal["exact", "float64"] = option(
        "exact",
        "inputs kept: the exact share rounded up, or its float64 value (official code; at times one more)",
    )
    cached_thresholds: bool = option(
        False, "official code: convolutions keep the activation threshold of a round's first batch"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.tier_table  # malformed tiers are refused here

    @property
    def tier_table(self) -> tuple[tuple[int, float], ...]:
        """(first id beyond the tier, sparsity), ids ascending; empty where all clients have the same sparsity."""
        if self.tiers is None:
            return ()
        try:
            pairs = [tier.split(":") for tier in self.tiers.split(",")]
            table = tuple((int(bound), float(sparsity)) for bound, sparsity in pairs)
        except ValueError:
            raise errors.UsageError(
                f"--tiers = {self.tiers!r} is not valid; allowed: id:sparsity,... such as 40:0.9,100:0.95"
            ) from None
        bounds = [0, *(bound for bound, _ in table)]
        if any(low >= high for low, high in itertools.pairwise(bounds)):
            raise errors.UsageError(
                f"--tiers = {self.tiers!r} is not valid; allowed: positive ids in ascending order"
            )
        for _, sparsity in table:
            errors.check_range("sparsity in --tiers", sparsity, **SPARSITY._asdict())
        return table


ENTRIES = (
    Entry(
        name="sparsyfed",
        summary="clients train powers of their parameters, prune them, and send the survivors",
        factory="fedjax_sparse.algorithms.sparsyfed:sparsyfed",
        hyperparameters=SparsyFed,
        system="SparsyFed",
        role="system",
        references=("guastella2025sparsyfed", "schwarz2021powerpropagation", "raihan2020swat"),
        state="server",
        up="the entries that survive, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "deployed"),
        reconstructed_options=("--beta spectral",),
        overrides={"client_lr": 0.5},  # the paper's: small parameters move slowly
    ),
    Entry(
        name="topk-weights",
        summary="dense local training; clients send their largest weights",
        factory="fedjax_sparse.algorithms.sparsyfed:topk_weights",
        hyperparameters=TopKWeights,
        system="SparsyFed",
        references=("guastella2025sparsyfed",),
        state="server",
        up="the entries that survive, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "deployed"),
    ),
    Entry(
        name="fixed-mask",
        summary="top-K weights whose clients train only what they receive as non-zero",
        factory="fedjax_sparse.algorithms.sparsyfed:fixed_mask",
        hyperparameters=FixedMask,
        system="SparsyFed",
        references=("guastella2025sparsyfed",),
        state="server",
        up="the entries that survive, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "deployed"),
    ),
)
