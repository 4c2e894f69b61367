"""Settings of one algorithm that differ in numbers alone, as one program; where they differ in more, as several."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_sparse.config import registry
from fedjax_sparse.config.options import unchecked
from fedjax_sparse.config.sweep import Trial
from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.experiments import building
from fedjax_sparse.experiments.building import Experiment
from fedjax_sparse.experiments.starting import initial
from fedjax_sparse.simulation.setting import with_optimizers
from fedjax_sparse.simulation.together import Together, compile_together
from fedjax_sparse.types import Algorithm

# What tracing raises where a number decides what is computed: a loop's length, a shape, a branch.
DECIDES = (TypeError, IndexError)


class Batch(NamedTuple):
    """Settings that run as one program.

    Attributes:
        experiment: Of the first of them.
        together: Its program: the seeds of the first setting, then those of the second, ...
        trials: The settings.
    """

    experiment: Experiment
    together: Together
    trials: Sequence[Trial]


def batches(trials: Sequence[Trial], split: Callable[[Dataset], Dataset]) -> Iterator[Batch]:
    """As few programs as there can be; each is built when it is asked for.

    Numbers that are no integers are tried as arguments of the program. Where one of them decides what is computed, such
    as a sparsity that says how many weights there are, or 0 for a term that is then left out, every value of it has a
    program of its own, as every value of anything else.

    Args:
        trials: Of one algorithm, at least one.
        split: What is trained and tested on.
    """
    searched = trials[0].values
    numbers = [name for name in searched if all(type(trial.values[name]) is float for trial in trials)]
    others = [name for name in searched if name not in numbers]
    for group in _grouped(trials, others):
        yield from _as_one(group, numbers, split)


def _as_one(
    trials: Sequence[Trial], numbers: Sequence[str], split: Callable[[Dataset], Dataset]
) -> Iterator[Batch]:
    """One program where these numbers can be its arguments, else those that are left."""
    config = trials[0].config
    experiment = building.build(config, initial(config), split)
    try:
        together = _traced(experiment, trials, numbers)
    except DECIDES:
        if not numbers:
            raise
        free = [name for name in numbers if _is_free(experiment, trials, name)]
        free = free if len(free) < len(numbers) else []
        for group in _grouped(trials, [name for name in numbers if name not in free]):
            yield from _as_one(group, free, split)
        return
    yield Batch(experiment, together, trials)


def _traced(experiment: Experiment, trials: Sequence[Trial], numbers: Sequence[str]) -> Together:
    seeds, kind = experiment.config.run.seeds, jax.dtypes.canonicalize_dtype(np.float64)
    arguments = {
        name: np.repeat(np.asarray([trial.values[name] for trial in trials], kind), seeds) for name in numbers
    }
    make = functools.partial(rebuilt, experiment)
    return compile_together(make, experiment.setting, arguments, seeds * len(trials))


def _is_free(experiment: Experiment, trials: Sequence[Trial], name: str) -> bool:
    """Whether this number alone can be an argument."""
    try:
        _traced(experiment, trials, [name])
    except DECIDES:
        return False
    return True


def rebuilt(experiment: Experiment, numbers: Mapping[str, Any]) -> Algorithm:
    """The algorithm of an experiment with other numbers, which may be traced: its own, or those of its optimisers."""
    config = experiment.config
    training, server, hyper = (
        unchecked(part, numbers) for part in (config.training, config.server, config.hyper)
    )
    federation = with_optimizers(experiment.setting.federation, training, server)
    return registry.load(registry.entry(config.algorithm))(federation, hyper)


def _grouped(trials: Sequence[Trial], names: Sequence[str]) -> list[list[Trial]]:
    """The trials by their values of these options, in the order of their first ones."""
    groups: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial.values[name] for name in names), []).append(trial)
    return [*groups.values()]
