"""FLASH: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, PROBABILITY, SPARSITY, Range, option


@dataclass(frozen=True)
class FirstStage(Hyperparameters):
    """FLASH: some clients find how dense each layer should be, before training."""

    sparsity: float = option(
        0.9, "fraction of zeros of the mask", allowed=SPARSITY, paper="0.8, 0.9, 0.95, 0.99"
    )
    prune_layers: Literal["all", "convolutions"] = option(
        "all", "kernels that are pruned: all, or convolutions only", paper="convolutions"
    )
    first_clients: float = option(
        0.1,
        "share of the clients that find the layers' densities",
        allowed=Range(low=0, high=1, low_open=True),
        paper="0.1",
    )
    first_epochs: int = option(
        10, "passes over their data that they take for it", allowed=AT_LEAST_ONE, paper="10"
    )
    drop_fraction: float = option(
        0.25, "share of a layer's living entries replaced at first", allowed=PROBABILITY, paper="0.25"
    )
    growth_shares: Literal["exact", "rounded-up"] = option(
        "exact",
        "how many entries layers grow: as many as were removed, by largest remainders; or each share rounded up, "
        "within 99 % of the layer (official code)",
    )


@dataclass(frozen=True)
class Flash(FirstStage):
    """FLASH with one mask that stays (SPDST)."""

    version: Literal["original", "sparsyfed"] = option(
        "original",
        "as published, or as SparsyFed's code has it: round 1 is the first stage, and no weight is drawn anew",
    )
    freeze_zeros: bool = option(
        False, "of version sparsyfed, its code: also biases and norm shifts that are zero are never trained"
    )


@dataclass(frozen=True)
class FlashJMWST(FirstStage):
    """FLASH whose masks go on moving at the clients."""

    adjust_every: int = option(1, "rounds between two moves of the mask", allowed=AT_LEAST_ONE, paper="1")
    densities_from: Literal["masks", "mean"] = option(
        "masks",
        "where the server reads off how dense a layer is: the clients' masks, or their mean's non-zeros",
    )


ENTRIES = (
    Entry(
        name="flash",
        summary="some clients find each layer's density by prune-and-grow; then a fixed random mask (SPDST)",
        factory="fedjax_sparse.baselines.flash:flash",
        hyperparameters=Flash,
        system="FLASH",
        references=("babakniya2023flash",),
        sparse=("server", "deployed"),
        overrides={"weighting": "uniform"},
        state="server",
        up="a density for each layer once, then the model's living entries",
        down="the model's living entries, and the mask once",
    ),
    Entry(
        name="flash-jmwst",
        summary="FLASH whose clients prune and grow amid their training; the server follows their densities",
        factory="fedjax_sparse.baselines.flash:flash_jmwst",
        hyperparameters=FlashJMWST,
        system="FLASH",
        references=("babakniya2023flash",),
        sparse=("deployed",),
        overrides={"weighting": "uniform"},
        reconstructed=True,
        state="both",
        up="its living entries, and where they are in rounds in which its mask moved",
        down="the model's living entries, and where they are if that is news",
    ),
)
