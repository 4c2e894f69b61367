"""Checkpoints: the state of a run on disk, there completely or not at all, and never silently wrong.

    FOLDER/<step>/arrays.npz        every leaf
    FOLDER/<step>/checkpoint.json   the metric, the extra values, and each leaf's path, shape and dtype
    FOLDER/<step>/sha256.json       the SHA-256 of the other files

What was written is read back before it counts, and every digest is compared before anything is restored.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.records import arrays

if TYPE_CHECKING:  # JAX takes a second to import, and whoever only lists steps does not need it
    from fedjax_sparse.types import PyTree

_ARRAYS, _CONTENTS, _DIGESTS, _SCRATCH = "arrays.npz", "checkpoint.json", "sha256.json", "unfinished-"
_KEYS = {"metric", "extra", "leaves"}  # of checkpoint.json


def save(
    folder: Path, step: int, state: PyTree, extra: dict[str, Any], *, metric: float | None = None
) -> None:
    """Writes a checkpoint, then removes those that it makes superfluous.

    It is written in a scratch folder, read back, and renamed when that has shown it to be complete, so a run killed at
    any moment leaves usable checkpoints behind. Kept are the last two and the best one (the earlier of equals).
    Checkpoints of later steps belong to a future that is being replaced, because the run was resumed from before them:
    they go too.

    Args:
        folder: Where a run's checkpoints lie; made if it is not there.
        step: At least 0. A checkpoint of the same step is replaced.
        state: Pytree of JAX or NumPy arrays; random keys as `jax.random.key_data`.
        extra: What else has to survive, as JSON knows it; integers may have any size.
        metric: Higher is better; None or NaN is never the best.

    Raises:
        RunError: The disk is full or not writable, or does not give back what was written; the checkpoints that were
            there are untouched.
    """
    target = folder / str(step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{_SCRATCH}*"):
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder, ignore_cleanup_errors=True) as name:
            scratch = Path(name)
            new = scratch / "new"
            new.mkdir()
            _write_arrays(new / _ARRAYS, state)
            contents = _json({"metric": metric, "extra": extra, "leaves": _describe(state)})
            digests = {_ARRAYS: _digest(new / _ARRAYS), _CONTENTS: hashlib.sha256(contents).hexdigest()}
            _write(new / _CONTENTS, contents)
            _write(new / _DIGESTS, _json(digests))
            if damage := _damage(new):
                raise OSError(damage)
            if target.exists():
                target.rename(scratch / "replaced")
            new.rename(target)
            _prune(folder, step, scratch)
    except OSError as error:
        raise RunError(
            f"cannot write checkpoint {target} ({_reason(error)}); those before it are kept"
        ) from error


def restore(
    folder: Path,
    template: PyTree,
    *,
    step: int | None = None,
    report: Callable[[str], Any] = warnings.warn,
) -> tuple[int, PyTree, dict[str, Any]]:
    """Reads a checkpoint after verifying the digest of each of its files.

    Args:
        folder: Where a run's checkpoints lie.
        template: Pytree of arrays with the structure, shapes and dtypes of the saved state. Each leaf comes back as
            what the template's leaf is, a NumPy or a JAX array, on the same devices.
        step: Which checkpoint; None for the last good one.
        report: Called with one line for each damaged checkpoint that is passed over.

    Returns:
        The step, the state, bit for bit as it was saved, and `extra`.

    Raises:
        RunError: No checkpoint is good, or the one asked for is not.
        UsageError: The checkpoint is good, but of another structure, shape or dtype than the template.
    """
    if step is None:
        step = common_step([folder], report=report)
    elif damage := _damage(folder / str(step)):
        raise RunError(damage)
    checkpoint = folder / str(step)
    contents = _read_contents(checkpoint)
    _check_fit(checkpoint, contents["leaves"], _describe(template))
    try:
        state = _read_arrays(checkpoint / _ARRAYS, template)
    except OSError as error:
        raise RunError(f"checkpoint {checkpoint} cannot be read: {_reason(error)}") from error
    return step, state, contents["extra"]


def read_extra(folder: Path, step: int) -> dict[str, Any]:
    """What was saved beside the state.

    Raises:
        RunError: The checkpoint cannot be read.
    """
    try:
        return _read_contents(folder / str(step))["extra"]
    except (OSError, ValueError) as error:
        raise RunError(f"checkpoint {folder / str(step)} cannot be read: {error}") from error


def steps(folder: Path) -> list[int]:
    """The steps of all checkpoints that were once complete, ascending; damage since then is not looked for."""
    numbers = (entry.name for entry in folder.glob("*") if entry.name.isdecimal())
    return sorted(int(name) for name in numbers if name == str(int(name)))


def common_step(folders: Sequence[Path], *, report: Callable[[str], Any] = warnings.warn) -> int:
    """The last step of which every folder has a good checkpoint: where several seeds can go on together.

    Args:
        folders: At least one folder of checkpoints.
        report: Called with one line for each step that is passed over because a checkpoint is damaged.

    Raises:
        RunError: There is none.
    """
    step = next(good_steps(folders, report=report), None)
    if step is None:
        raise RunError(f"no usable checkpoint in {', '.join(map(str, folders))}")
    return step


def good_steps(folders: Sequence[Path], *, report: Callable[[str], Any] = warnings.warn) -> Iterator[int]:
    """The steps of which every folder has a good checkpoint, the last one first; as of `common_step`."""
    shared = set.intersection(*(set(steps(folder)) for folder in folders))
    for step in sorted(shared, reverse=True):
        damage = next(filter(None, (_damage(folder / str(step)) for folder in folders)), None)
        if damage is None:
            yield step
        else:
            report(f"{damage}; using the one before")


def select_best(folder: Path) -> int | None:
    """The step with the highest metric, the earlier of equals; None if no checkpoint has a metric."""
    metrics = {step: _metric(folder / str(step)) for step in steps(folder)}
    known = {step: metric for step, metric in metrics.items() if metric is not None and metric == metric}
    return max(known, key=known.__getitem__, default=None)


def _prune(folder: Path, step: int, scratch: Path) -> None:
    """Moves to `scratch` what is later than `step`, then all but the last two and the best."""

    def discard(unwanted: list[int]) -> None:
        for other in unwanted:
            (folder / str(other)).rename(scratch / str(other))

    discard([other for other in steps(folder) if other > step])
    keep = {*steps(folder)[-2:], select_best(folder)}
    discard([other for other in steps(folder) if other not in keep])


def _damage(checkpoint: Path) -> str | None:
    """One line on what is wrong with a checkpoint's files; None if all are as they were written."""
    try:
        written = _read_digests(checkpoint)
        wrong = next((name for name in written if not (checkpoint / name).is_file()), None)
        if wrong is not None:
            return f"checkpoint {checkpoint} is damaged: {wrong} is missing"
        wrong = next((name for name in written if _digest(checkpoint / name) != written[name]), None)
        if wrong is not None:
            return f"checkpoint {checkpoint} is damaged: {wrong} is not what was written"
        _read_contents(checkpoint)
    except (OSError, ValueError, RecursionError) as error:
        return f"checkpoint {checkpoint} cannot be read: {_reason(error)}"
    return None


def _reason(error: Exception) -> str:
    """What an error says, without the path that the line names already."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{Path(error.filename).name} is missing"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_digests(checkpoint: Path) -> dict[str, str]:
    digests = _read_json((checkpoint / _DIGESTS).read_bytes(), _DIGESTS)
    if digests.keys() != {_ARRAYS, _CONTENTS}:
        raise ValueError(f"{_DIGESTS} does not name {_ARRAYS} and {_CONTENTS}, the files of this version")
    return digests


def _read_contents(checkpoint: Path) -> dict[str, Any]:
    content = (checkpoint / _CONTENTS).read_bytes()
    if hashlib.sha256(content).hexdigest() != _read_digests(checkpoint)[_CONTENTS]:
        raise ValueError(f"{_CONTENTS} is not what was written")
    contents = _read_json(content, _CONTENTS)
    if contents.keys() != _KEYS:
        raise ValueError(f"{_CONTENTS} holds {sorted(contents)}, not {sorted(_KEYS)}")
    return contents


def _read_json(content: bytes, name: str) -> dict[str, Any]:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise ValueError(f"{name} is not a JSON object")
    return read


def _metric(checkpoint: Path) -> float | None:
    """The metric that was saved; None without one, or if that file is damaged."""
    try:
        return _read_contents(checkpoint)["metric"]
    except (OSError, ValueError):
        return None


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _describe(state: PyTree) -> list[list]:
    """Path, shape and dtype of each leaf, in the form in which JSON gives them back."""
    import jax

    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return [[jax.tree_util.keystr(path), list(leaf.shape), leaf.dtype.name] for path, leaf in leaves]


def _check_fit(checkpoint: Path, saved: list[list], wanted: list[list]) -> None:
    """Raises a `UsageError` that names the first leaf in which the two descriptions differ."""
    for old, new in itertools.zip_longest(saved, wanted):
        if old != new:
            raise UsageError(
                f"checkpoint {checkpoint} belongs to another configuration: "
                f"it holds {_leaf(old)}, this one needs {_leaf(new)}"
            )


def _leaf(description: list | None) -> str:
    if description is None:
        return "no further array"
    path, shape, dtype = description
    return f"{path} {dtype}[{','.join(map(str, shape))}]"


def _write_arrays(path: Path, state: PyTree) -> None:
    import jax

    leaves = [np.asarray(leaf) for leaf in jax.device_get(jax.tree.leaves(state))]
    needed, free = sum(leaf.nbytes for leaf in leaves), shutil.disk_usage(path.parent).free
    if needed > free:  # said before the disk is filled to the brim
        raise OSError(f"{needed:,} bytes are needed, {free:,} are free")
    arrays.write(path, leaves)


def _read_arrays(path: Path, template: PyTree) -> PyTree:
    """Reads what `_write_arrays` wrote into the structure and onto the devices of the template."""
    import jax

    def placed(leaf: Any, array: np.ndarray) -> Any:
        if not isinstance(leaf, jax.Array):
            return array
        # An array that is not committed to a device must stay so, or it can no longer meet those of a mesh.
        return jax.device_put(array, leaf.sharding) if leaf.committed else jax.numpy.array(array)

    leaves, structure = jax.tree.flatten(template)
    return jax.tree.unflatten(structure, map(placed, leaves, arrays.read(path, leaves)))
