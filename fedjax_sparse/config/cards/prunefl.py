"""PruneFL: name, references and hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, PROBABILITY, Range, option


@dataclass(frozen=True)
class PruneFL(Hyperparameters):
    """PruneFL: what gains most in a unit of time lives; how sparse that is comes of itself."""

    first_rounds: int = option(
        1000,
        "most rounds in which one client prunes before training; 0 for none",
        allowed=NOT_NEGATIVE,
        paper="1000",
    )
    first_steps: int = option(10, "local steps of such a round", allowed=AT_LEAST_ONE, paper="10")
    first_accuracy: float = option(
        0.15,
        "accuracy on its own examples from which that client prunes",
        allowed=PROBABILITY,
        paper="1.5/classes",
    )
    adjust_every: int = option(50, "rounds between two reconfigurations", allowed=AT_LEAST_ONE, paper="50")
    drop_fraction: float = option(
        0.3,
        "share of a layer's living entries that may go, at first",
        allowed=Range(low=0, high=1, high_open=True),
        paper="0.3",
    )
    half_life: float = option(10000.0, "rounds in which that share halves", allowed=POSITIVE, paper="10000")
    max_density: float | None = option(
        None, "reconfigurations let nothing in beyond this density", allowed=PROBABILITY
    )
    constant_time: float = option(
        0.0, "time of a round without any kernel, in the unit of the next", allowed=NOT_NEGATIVE
    )
    communication_time: float = option(1.0, "time that a living entry takes to send", allowed=POSITIVE)
    computation_time: float = option(
        0.0,
        "time of an entry for each position at which its layer uses it in an example",
        allowed=NOT_NEGATIVE,
    )
    remember: bool = option(
        True, "an entry that comes back has its last value (official code), or else starts at 0", paper="yes"
    )


ENTRIES = (
    Entry(
        name="prunefl",
        summary="one client prunes before training; then what gains most in a unit of time lives",
        factory="fedjax_sparse.baselines.prunefl:prunefl",
        hyperparameters=PruneFL,
        system="PruneFL",
        references=("jiang2022prunefl",),
        sparse=("deployed",),
        reconstructed_options=("--computation-time", "--communication-time", "--constant-time"),
        state="both",
        up="its living entries, and squared gradients in rounds in which the mask moves",
        down="the model's living entries, and where they are if that is news",
    ),
)
