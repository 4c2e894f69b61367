"""Writes a run's progress into its folders, and reads it back: rows, divergence, checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fedjax_sparse.config.run_config import options_of_run
from fedjax_sparse.devices import meshes
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.records import checkpoints, mask_files
from fedjax_sparse.records.run_folder import RunFolder, run_of_seed
from fedjax_sparse.simulation.driver import Progress, Resume
from fedjax_sparse.simulation.ledger import Ledger
from fedjax_sparse.types import PyTree

Report = Callable[[str], Any]


class Recorder:
    """The folders of one run, a folder for each seed.

    A seed that diverges is closed: its rows and checkpoints stay as they were before that round.
    """

    def __init__(self, folders: Sequence[RunFolder], table: dict[str, Any]):
        """`table` is the resolved configuration, as TOML tables; every checkpoint carries it."""
        self.folders = folders
        self._table = table
        self._closed = [folder.manifest().get("diverged_at") for folder in folders]

    def record(self, progress: Progress, report: Report) -> None:
        """Appends new rows, closes the seeds that diverged, and says once when a layer is first found empty."""
        for k, (folder, row, ledger) in enumerate(
            zip(self.folders, progress.rows, progress.ledgers, strict=True)
        ):
            if row is not None:
                folder.append(row)
            if ledger.emptied_at == progress.round:
                found = f"as found after round {ledger.emptied_at}"
                report(f"{folder.path}: no weight is left in {ledger.emptied}, {found}")
            if ledger.diverged_at is not None and self._closed[k] is None:
                self._closed[k] = ledger.diverged_at
                folder.truncate(ledger.diverged_at - 1)
                folder.update_manifest(diverged_at=ledger.diverged_at)
                folder.set_status(f"diverged in round {ledger.diverged_at}")
                kept = checkpoints.steps(folder.checkpoints)
                left = f"its checkpoint of round {kept[-1]} is kept" if kept else "it has no checkpoint yet"
                report(f"{folder.path}: diverged in round {ledger.diverged_at}; {left}")

    def keep_masks(self, progress: Progress, masks: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Keeps the masks of an evaluated round, of each seed that still runs; their rows are recorded afterwards."""
        for k, folder in enumerate(self.folders):
            if progress.rows[k] is not None:
                mask_files.write(folder.path, progress.round, masks[k], progress.pairs[k])

    @property
    def running(self) -> list[RunFolder]:
        """The folders of the seeds that have not diverged."""
        return [folder for folder, closed in zip(self.folders, self._closed, strict=True) if closed is None]

    def set_status(self, status: str) -> None:
        """Records how the run stands: its seeds that have not diverged and, of several, the folder that holds them."""
        for folder in self.running:
            folder.set_status(status)
        if run := run_of_seed(self.folders[0].path):
            RunFolder(run).set_status(status)

    def save(self, progress: Progress) -> None:
        """One checkpoint for each seed that still runs; of a cluster's processes, only the first writes."""
        state = meshes.fetch(progress.state)  # all processes of a cluster have a part in this
        if jax.process_index():
            return
        for k, folder in enumerate(self.folders):
            if self._closed[k] is None:
                own = jax.tree.map(lambda leaf, k=k: leaf[k], state)
                extra = {"config": self._table, "ledger": progress.ledgers[k].to_dict()}
                checkpoints.save(
                    folder.checkpoints, progress.round, own, extra, metric=merit(progress.rows[k])
                )

    def last_step(self, report: Report) -> int | None:
        """The last step that all running seeds have saved; None if there is none yet.

        Args:
            report: Called with one line for each checkpoint that is passed over.

        Raises:
            UsageError: No checkpoint belongs to this configuration, or all that there were have been removed.
            RunError: There are checkpoints, but none is good.
        """
        running = [folder.checkpoints for folder in self.running]
        if not all(checkpoints.steps(path) for path in running):
            self._check_never_saved()
            return None
        if not running:
            return None
        foreign = None
        for step in checkpoints.good_steps(running, report=report):
            difference = next(filter(None, (self._difference(folder, step) for folder in self.running)), None)
            if difference is None:
                if foreign:
                    report(f"{foreign}; using the one before")
                return step
            foreign = foreign or f"checkpoint {step} was made with {difference}"
        if foreign:
            raise UsageError(
                f"cannot resume {self.running[0].path}: {foreign}; set it back, or start a new run"
            )
        raise RunError(f"no usable checkpoint in {', '.join(map(str, running))}")

    def restore(self, step: int | None, template: PyTree, report: Report) -> Resume | None:
        """The state of a step, later rows dropped; None where the run starts from the beginning.

        A seed that diverged stays where its last good checkpoint left it: carried along, never recorded.

        Args:
            step: As of `last_step`.
            template: ShapeDtypeStructs of one seed's state.
            report: Called with one line for each damaged checkpoint that is passed over.
        """
        if step is None:
            self._truncate(-1)  # round 0 is evaluated anew, too
            return None
        restored = [self._restore_one(k, template, step, report) for k in range(len(self.folders))]
        self._truncate(step)
        states, ledgers = zip(*restored, strict=True)
        return Resume(step, jax.tree.map(lambda *leaves: np.stack(leaves), *states), ledgers)

    def _restore_one(self, k: int, template: PyTree, step: int, report: Report) -> tuple[PyTree, Ledger]:
        folder, closed = self.folders[k], self._closed[k]
        wanted = step
        if closed is not None:
            wanted = next(checkpoints.good_steps([folder.checkpoints], report=report), None)
        if wanted is None:
            nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
            return nothing, Ledger(diverged_at=closed)
        _, state, extra = checkpoints.restore(folder.checkpoints, template, step=wanted, report=report)
        return state, Ledger.from_dict(extra["ledger"])._replace(diverged_at=closed)

    def _check_never_saved(self) -> None:
        """Raises a `UsageError` where starting from the beginning would throw away what cannot be made out of nothing.

        A run that was killed before its first checkpoint has recorded no later round, and its status is still that of a
        run that goes on: whatever else has no checkpoints has lost them.
        """
        for folder in self.running:
            recorded = max((row["round"] for row in folder.rows()), default=0)
            if folder.manifest()["status"] != "running" or recorded > _flat(self._table)["checkpoint_every"]:
                raise UsageError(
                    f"cannot resume {folder.path}: its checkpoints are gone; the records of {recorded} rounds are kept "
                    f"(to draw them: fedjax-sparse plot {folder.path}); start a new run to train again"
                )

    def _difference(self, folder: RunFolder, step: int) -> str | None:
        """The first value of the configuration that a checkpoint was not made with, in words."""
        old = _flat(checkpoints.read_extra(folder.checkpoints, step)["config"])
        new = _flat(self._table)
        if old["rounds"] in folder.manifest().get("rounds_before", []):
            old["rounds"] = new["rounds"]
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return f"{key} = {old.get(key)!r}, but config.toml has {key} = {new.get(key)!r}"
        return None

    def _truncate(self, step: int) -> None:
        for folder in self.running:
            folder.truncate(step)


def merit(row: dict[str, Any] | None) -> float | None:
    """What the best checkpoint is best in: test accuracy or, without classes, minus the test loss."""
    if row is None:
        return None
    return row.get("global_test_accuracy", -row["global_test_loss"])


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    """Every option by its name, also where the run was started by a version that wrote no tables."""
    own = {f"algorithm.{key}": value for key, value in table["algorithm"].items()}
    return options_of_run(table) | own
