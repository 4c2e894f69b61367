"""Writes a run's progress into its folders, and reads it back: rows, divergence, checkpoints."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from fedjax_sparse.devices import meshes
from fedjax_sparse.errors import UsageError
from fedjax_sparse.records import checkpoints
from fedjax_sparse.records.run_folder import RunFolder
from fedjax_sparse.simulation.ledger import Ledger
from fedjax_sparse.simulation.programs import Progress, Resume
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
                report(
                    f"{folder.path}: diverged in round {ledger.diverged_at}; its last good checkpoint is kept"
                )

    @property
    def running(self) -> list[RunFolder]:
        """The folders of the seeds that have not diverged."""
        return [folder for folder, closed in zip(self.folders, self._closed, strict=True) if closed is None]

    def set_status(self, status: str) -> None:
        """Records how the seeds that have not diverged stand."""
        for folder in self.running:
            folder.set_status(status)

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

    def restore(self, template: PyTree, report: Report) -> Resume | None:
        """The last state that all running seeds have saved, later rows dropped; None if there is none yet.

        A seed that diverged stays where its last good checkpoint left it: carried along, never recorded.

        Args:
            template: ShapeDtypeStructs of one seed's state.
            report: Called with one line for each damaged checkpoint that is passed over.
        """
        running = [folder.checkpoints for folder in self.running]
        if not running or not all(checkpoints.steps(path) for path in running):
            self._truncate(0)
            return None
        step = checkpoints.common_step(running, report=report)
        self._truncate(step)
        restored = [self._restore_one(k, template, step, report) for k in range(len(self.folders))]
        states, ledgers = zip(*restored, strict=True)
        return Resume(step, jax.tree.map(lambda *leaves: np.stack(leaves), *states), ledgers)

    def _restore_one(self, k: int, template: PyTree, step: int, report: Report) -> tuple[PyTree, Ledger]:
        folder, closed = self.folders[k], self._closed[k]
        if closed is not None and not checkpoints.steps(folder.checkpoints):
            return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template), Ledger(
                diverged_at=closed
            )
        wanted = step if closed is None else None
        _, state, extra = checkpoints.restore(folder.checkpoints, template, step=wanted, report=report)
        return state, Ledger.from_dict(extra["ledger"])._replace(diverged_at=closed)

    def check_unchanged(self) -> None:
        """Raises a `UsageError` if the configuration is not the one that the checkpoints were made with."""
        for folder in self.folders:
            for step in checkpoints.steps(folder.checkpoints)[-1:]:
                _compare(folder, checkpoints.read_extra(folder.checkpoints, step)["config"], self._table)

    def _truncate(self, step: int) -> None:
        for folder in self.running:
            folder.truncate(step)


def merit(row: dict[str, Any] | None) -> float | None:
    """What the best checkpoint is best in: test accuracy or, without classes, minus the test loss."""
    if row is None:
        return None
    return row.get("global_test_accuracy", -row["global_test_loss"])


def _compare(folder: RunFolder, saved: dict[str, Any], now: dict[str, Any]) -> None:
    old, new = _flat(saved), _flat(now)
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            raise UsageError(
                f"cannot resume {folder.path}: config.toml has {key} = {new.get(key)!r}, but the run was started "
                f"with {old.get(key)!r}; set it back, or start a new run"
            )


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    own = {f"algorithm.{key}": value for key, value in table["algorithm"].items()}
    return {key: value for key, value in table.items() if key != "algorithm"} | own
