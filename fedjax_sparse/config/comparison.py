"""A comparison of algorithms: which, at which sparsities, and what all have in common; to and from TOML. No JAX here.

    [comparison]
    algorithms = ["fedavg", "fedsparsify-global", "sparsyfed"]
    sparsities = [0.9, 0.95]
    reference = "fedavg"

    [training]                # and the other sections of a run: the same for all
    rounds = 60

    [algorithm.sparsyfed]     # of one alone: its hyper-parameters, local training and server
    client_lr = 0.25

Data, partition, cohorts, rounds and seeds are the same for all, and with them who takes part in a round and the initial
weights. What an algorithm's card sets otherwise, such as a cohort of everyone, it keeps unless that is stated here, and
the table marks it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fedjax_sparse import errors
from fedjax_sparse.config import registry, run_config, several
from fedjax_sparse.config.options import (
    AT_LEAST_ONE,
    SPARSITY,
    Option,
    checked,
    declared_options,
    option,
)
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.config.several import Several

KIND = "comparison"  # its table in a file
FILE = "comparison.toml"  # in the folder of a comparison
SPARSITIES = Option(
    "sparsities",
    str,
    "none",
    "fractions of zeros as in 0.8,0.9,0.95, each a run of every algorithm that has --sparsity; by default its own",
    None,
    None,
)
TUNED = Option(
    "tuned",
    str | None,
    None,
    "winners.toml of a sweep, what each algorithm has apart; what [algorithm.NAME] states here wins over it",
    None,
    None,
)
# What winners of a sweep were tuned for; where a comparison differs in it, that is said.
CONDITIONS = (
    "dataset",
    "model",
    "train_examples",
    "image_shrink",
    "partition",
    "alpha",
    "classes_per_client",
)
CONDITIONS += ("clients", "cohort_size", "rounds", "local_epochs", "local_steps", "batch_size")


class Case(NamedTuple):
    """One run of a comparison.

    Attributes:
        name: ALGORITHM-SPARSITY, or ALGORITHM where it runs once; of its folder, too.
        sparsity: Of those compared; None where the algorithm runs once.
        config: Of the run, without a folder.
    """

    name: str
    sparsity: float | None
    config: RunConfig


@dataclasses.dataclass(frozen=True)
class Comparison(Several):
    """What is compared.

    Attributes:
        sparsities: Each a run of every algorithm that has this hyper-parameter; none leaves all at their own.

    Raises:
        UsageError: Names that are unknown or named twice, or values that are not allowed.
    """

    sparsities: tuple[float, ...] = ()
    reference: str | None = option(
        None,
        "algorithm from which differences are taken, seed by seed, at the same sparsity where it has one",
    )
    target: float | None = option(
        None, "test accuracy (without classes, test loss) whose bytes, FLOPs and simulated time are stated"
    )
    last: int = option(
        10, "the mean is over the recorded rounds among the last so many", allowed=AT_LEAST_ONE
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        several.check_once("sparsity", self.sparsities)
        one = SPARSITIES._replace(annotation=float, allowed=SPARSITY)
        object.__setattr__(self, "sparsities", tuple(checked(one, value) for value in self.sparsities))
        if self.reference is not None and self.reference not in self.algorithms:
            errors.unknown_name("reference", self.reference, self.algorithms)
        for name, values in self.own.items():
            if self.sparsities and "sparsity" in values:
                raise errors.UsageError(
                    f"[algorithm.{name}]: sparsity is stated by the sparsities of the comparison; keep one"
                )

    def cases(self) -> list[Case]:
        """The runs, algorithm by algorithm.

        Raises:
            UsageError: A run cannot be configured as it is asked for, or there are more than `MOST_RUNS`.
        """
        found = [
            self._case(name, sparsity)
            for name in self.algorithms
            for sparsity in (self.sparsities if several.has_sparsity(registry.entry(name)) else ()) or (None,)
        ]
        if self.sparsities and all(case.sparsity is None for case in found):
            raise errors.UsageError(
                f"--sparsities has no effect on {', '.join(self.algorithms)}; leave it out"
            )
        several.check_count(len(found), found[0].config.run.seeds, "comparison")
        return found

    def _case(self, algorithm: str, sparsity: float | None) -> Case:
        name = algorithm if sparsity is None else f"{algorithm}-{sparsity}"
        try:
            config = self.configure(algorithm, **({} if sparsity is None else {"sparsity": sparsity}))
        except errors.UsageError as error:
            raise errors.UsageError(f"{name}: {error}") from None
        return Case(name, sparsity, config)


def read(folder: Path) -> Comparison:
    """The comparison whose folder this is.

    Raises:
        UsageError: Its file cannot be read, or is none of a comparison.
    """
    return Comparison(**values_of(run_config.read(folder / FILE)))


def to_toml_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as tables of a TOML file; what is None is left out."""
    head = {o.name: getattr(comparison, o.name) for o in declared_options(Comparison)}
    return several.to_toml_dict(KIND, {"sparsities": [*comparison.sparsities], **head}, comparison)


def values_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Comparison` that a file's tables state, and the name of a file of winners where they state one.

    Raises:
        UsageError: The file is no comparison.
    """
    own = (SPARSITIES, TUNED, *declared_options(Comparison))
    found = several.values_of(KIND, table, [o.name for o in own])
    if "sparsities" in found:
        found["sparsities"] = several.list_of("sparsities", found["sparsities"], int | float)
    return found


def sparsities_of(text: str) -> tuple[float, ...]:
    """The numbers of a text such as 0.8,0.9; none of `none`."""
    try:
        return () if text == "none" else tuple(map(float, text.split(",")))
    except ValueError:
        raise errors.UsageError(
            f"--sparsities = {text!r} is not valid; allowed: numbers in {SPARSITY} as in 0.8,0.9"
        ) from None
