"""A run that is on disk, for use from Python: its configuration, its records as one table, its models."""

import functools
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from fedjax_sparse.config import run_config as configs
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.building import Experiment, build, build_without_data
from fedjax_sparse.records import checkpoints, run_folder
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.deployment import TrainedModel, trained


def load_run(folder: str | Path) -> "LoadedRun":
    """Opens the folder of a run, finished or not.

    Raises:
        UsageError: This is no run folder.
        RunError: Its records are damaged.
    """
    return LoadedRun(Path(folder))


class LoadedRun:
    """A run as it was recorded.

    Attributes:
        config: What was run.
        seeds: Its seeds.
        table: The rows of all seeds, one after another: column -> [rows], with the columns `seed` and `round` first. A
            value that a row does not have is NaN. `pandas.DataFrame(table)` takes it as it is.
    """

    config: RunConfig
    seeds: list[int]
    table: dict[str, np.ndarray]

    def __init__(self, folder: Path):
        tables, folders = run_folder.open_run(folder)
        self.config = configs.from_toml_dict(tables)
        self.seeds = [*self.config.run.all_seeds]
        self._folders = dict(zip(self.seeds, folders, strict=True))
        self.table = _columns(
            [{"seed": seed, **row} for seed, own in self._folders.items() for row in own.rows()]
        )

    def model(self, which: Literal["last", "best"] | int = "last", seed: int | None = None) -> TrainedModel:
        """The model of a checkpoint. The run's data set is needed only where the run recorded no outline of it.

        Args:
            which: The last good checkpoint, the one that was best on the test set, or that of a round.
            seed: By default the run's first.

        Raises:
            UsageError: There is no such seed or checkpoint; or no data set, and no outline of it.
            RunError: The checkpoint is damaged.
        """
        saved = self.folder(self.seeds[0] if seed is None else seed) / run_folder.CHECKPOINTS
        step = _step(saved, which)
        made = self._experiment
        devices = self.config.machine.devices
        template = programs.state_shapes(made.algorithm, made.setting, None if devices == "auto" else devices)
        _, state, _ = checkpoints.restore(saved, template, step=step)
        (model,) = trained(made.algorithm, made.setting, jax.tree.map(lambda leaf: leaf[None], state))
        return model

    def folder(self, seed: int) -> Path:
        """Where a seed was recorded.

        Raises:
            UsageError: It is none of the run's.
        """
        if seed not in self._folders:
            raise UsageError(
                f"seed = {seed!r} is not one of this run; allowed: {', '.join(map(str, self.seeds))}"
            )
        return self._folders[seed].path

    @property
    def personal(self) -> bool:
        """Whether clients deploy different models, of which `model` gives the first client's."""
        return self._experiment.algorithm.personal

    @functools.cached_property
    def _experiment(self) -> Experiment:
        # Of one device, however many it ran on, and without the network, which models do not depend on: neither need
        # be here.
        config, first = configs.changed(self.config, devices=1, network=None), self.folder(self.seeds[0])
        data = run_folder.read_data(first)
        if data is not None:
            return build_without_data(config, *data)
        try:
            return build(config)
        except UsageError as error:
            raise UsageError(
                f"{error} (the run has no {run_folder.DATA}, so that its model needs its data set)"
            ) from None


def _step(saved: Path, which: str | int) -> int | None:
    """The step of a checkpoint; None for the last good one."""
    there, best = checkpoints.steps(saved), checkpoints.select_best(saved)
    if type(which) is not int and which not in ("last", "best"):
        raise UsageError(f"which = {which!r} is not valid; allowed: last, best, or a round")
    if not there or (which == "best" and best is None):
        raise UsageError(f"{saved} holds no checkpoint to take the {which} model from")
    if type(which) is int and which not in there:
        raise UsageError(
            f"{saved} holds no checkpoint of round {which}; allowed: {', '.join(map(str, there))}"
        )
    return best if which == "best" else which if type(which) is int else None


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Rows as columns; null is NaN."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: np.array([np.nan if row.get(name) is None else row[name] for row in rows]) for name in names
    }
