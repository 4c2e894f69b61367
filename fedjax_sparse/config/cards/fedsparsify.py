"""FedSparsify and the prunings that it is compared with: names, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedjax_sparse import errors
from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, SPARSITY, option


@dataclass(frozen=True)
class Pruning(Hyperparameters):
    """What may be pruned, and the official code's ways of doing it."""

    sparsity: float = option(
        0.9, "fraction of zeros after the last round", allowed=SPARSITY, paper="0.8, 0.85, 0.9, 0.95, 0.99"
    )
    scope: Literal["all", "kernels"] = option(
        "all", "what may be pruned: all trainable scalars, or kernels only", paper="all"
    )
    layerwise: bool = option(False, "prune every leaf to the sparsity, not all leaves together", paper="no")
    counting: Literal["exact", "float64"] = option(
        "exact",
        "entries pruned: s N without rounding error, or as float64 has it (official code; at times one less)",
    )
    keep_ties: bool = option(False, "keep every entry as large as the smallest one kept (official code)")
    mask_from_values: bool = option(
        False, "a weight that is zero after a round is pruned, biases too (official code)"
    )
    keep_momentum: bool = option(
        False, "clients keep their momentum from round to round (official code)", paper="yes"
    )


@dataclass(frozen=True)
class GradualPruning(Pruning):
    """Gradual pruning: sparsity grows from round to round along a polynomial."""

    initial_sparsity: float = option(0.0, "fraction of zeros at the start", allowed=SPARSITY, paper="0")
    exponent: int = option(
        3, "exponent of the schedule; 1 is linear, more prunes earlier", allowed=AT_LEAST_ONE, paper="3"
    )
    frequency: int = option(1, "rounds between two prunings", allowed=AT_LEAST_ONE, paper="1")
    start_round: int = option(1, "pruning starts after this round", allowed=NOT_NEGATIVE, paper="1")


@dataclass(frozen=True)
class FedSparsifyGlobal(GradualPruning):
    """FedSparsify-Global: the smallest magnitudes of the aggregated model are pruned."""


@dataclass(frozen=True)
class FedSparsifyLocal(GradualPruning):
    """FedSparsify-Local: clients prune what they have trained, and vote."""

    vote_threshold: Literal["ceil", "floor"] = option(
        "ceil", "votes that keep an entry: half of the voters rounded up, or down (official code)"
    )
    mean_over: Literal["all", "voters"] = option(
        "all", "an entry's mean over all clients, zeros counted, or over those that voted for it", paper="all"
    )
    fine_tuning_epochs: int = option(
        0, "further local epochs under the client's own mask", allowed=NOT_NEGATIVE, paper="0"
    )


@dataclass(frozen=True)
class OneShotPruning(Pruning):
    """One-shot pruning of the server's model."""

    prune_round: int | None = option(
        None,
        "the round after which everything is pruned; by default 10 before the last, or the first",
        allowed=AT_LEAST_ONE,
        paper="T - 10",
    )


@dataclass(frozen=True)
class RandomPruning(GradualPruning):
    """Random pruning: the same schedule along one random order of all entries, drawn at the start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_ties:
            raise errors.UsageError(
                "--keep-ties is not valid with random-pruning, whose order has no ties; allowed: false"
            )


ENTRIES = (
    Entry(
        name="fedsparsify-global",
        summary="the server prunes its aggregated model by magnitude, a little more every round",
        factory="fedjax_sparse.algorithms.fedsparsify:fedsparsify_global",
        hyperparameters=FedSparsifyGlobal,
        system="FedSparsify",
        role="system",
        references=("stripelis2022fedsparsify",),
        state="server",
        up="the model's living entries",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        follows_length=True,
    ),
    Entry(
        name="fedsparsify-local",
        summary="clients prune what they trained, more every round; a majority decides what stays",
        factory="fedjax_sparse.algorithms.fedsparsify:fedsparsify_local",
        hyperparameters=FedSparsifyLocal,
        system="FedSparsify",
        role="system",
        references=("stripelis2022fedsparsify",),
        state="server",
        up="the entries that it keeps, and where they are",
        down="the model's living entries, and where they are",
        sparse=("upload", "server", "deployed"),
        reconstructed_options=("--fine-tuning-epochs",),
        follows_length=True,
    ),
    Entry(
        name="random-pruning",
        summary="FedSparsify's schedule, with entries pruned in one random order",
        factory="fedjax_sparse.algorithms.fedsparsify:random_pruning",
        hyperparameters=RandomPruning,
        system="FedSparsify",
        references=("stripelis2022fedsparsify",),
        state="server",
        up="the model's living entries",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        follows_length=True,
    ),
    Entry(
        name="one-shot-pruning",
        summary="the server prunes its model by magnitude all at once, ten rounds before the end",
        factory="fedjax_sparse.algorithms.fedsparsify:one_shot_pruning",
        hyperparameters=OneShotPruning,
        system="FedSparsify",
        references=("stripelis2022fedsparsify",),
        state="server",
        up="the model's living entries",
        down="the model's living entries, and where they are",
        sparse=("server", "deployed"),
        follows_length=True,
    ),
)
