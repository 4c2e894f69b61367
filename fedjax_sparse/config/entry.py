"""What the registry knows of an algorithm before any of its code is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fedjax_sparse.config.options import Options

LOCAL_WORK = ("local_epochs", "local_steps")
SERVER_OPTIMIZER = ("server_opt", "server_lr", "server_momentum", "server_decay", "server_tau")


@dataclass(frozen=True)
class Hyperparameters(Options):
    """Base class of every algorithm's hyper-parameters: options whose values are checked when they are made.

    Where an algorithm has a paper, `paper` states what it used.
    """


@dataclass(frozen=True)
class Entry:
    """One registered algorithm.

    Attributes:
        name: As typed on the command line.
        summary: One line.
        factory: `module:function`, imported only when the algorithm is built; the function takes a
            `Federation` and an instance of `hyperparameters` and returns an `Algorithm`.
        hyperparameters: The dataclass of its hyper-parameters.
        system: The paper or system that it belongs to.
        references: Keys in `references.bib`, or BibTeX records. The first is the algorithm's own paper.
        role: Whether it is one of the systems that this package is about, or what they are compared with.
        sparse: What it declares sparse: any of server, upload, deployed, personal. None if that is not stated.
        reconstructed: Whether details had to be reconstructed because no official code settles them.
        reconstructed_options: Options of which that is true, of an algorithm that is otherwise settled.
        overrides: Defaults of the run configuration that it changes, such as `{"cohort_size": "all"}`.
        unused: Options of a run that have no effect on it.
        follows_length: Whether its rounds depend on how many there are, so that a run cannot be made longer afterwards.
            None if that is not stated, which also forbids it.
        communicates: Whether anything is ever sent.
        plain_sgd: Whether all that clients do is local SGD through `make_steps`, so that they may share wide
            layers; a CPU then trains some of them at once.
        state: Where what it keeps from round to round lives. None if that is not stated.
        up: What a client sends in a round, in words. None if that is not stated.
        down: What a client is sent in a round, in words. None if that is not stated.
    """

    name: str
    summary: str
    factory: str
    hyperparameters: type[Hyperparameters]
    system: str
    references: tuple[str, ...]
    role: Literal["system", "baseline"] = "baseline"
    sparse: tuple[str, ...] | None = ()
    reconstructed: bool = False
    reconstructed_options: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    follows_length: bool | None = False
    communicates: bool = True
    plain_sgd: bool = False
    state: Literal["server", "clients", "both"] | None = None
    up: str | None = None
    down: str | None = None

    @property
    def sets_its_steps(self) -> bool:
        """Whether the algorithm itself decides how many local steps a round has."""
        return set(LOCAL_WORK) <= set(self.unused)

    @property
    def status(self) -> str:
        """What of it is reconstructed, in words; empty where nothing is."""
        if self.reconstructed:
            return "reconstructed"
        return f"reconstructed: {', '.join(self.reconstructed_options)}" if self.reconstructed_options else ""
