"""Decoded arrays kept on disk as .npy files, so that a data set is decoded once and memory-mapped ever after."""

import functools
import hashlib
import json
import os
import tempfile
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fedjax_sparse.data.files import Arrays

_LAYOUT = 2  # raised whenever a reader's result changes
_INDEX = "index.json"


def folder(chosen: str | Path | None = None) -> Path:
    """The chosen folder, else the one named by FEDJAX_SPARSE_CACHE, else ~/.cache/fedjax-sparse."""
    named = chosen or os.environ.get("FEDJAX_SPARSE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "fedjax-sparse"


def cached(cache_dir: Path, name: str, sources: Sequence[Path], read: Callable[[], Arrays]) -> Arrays:
    """What `read` returns, from the cache where it was read before.

    An entry belongs to its sources' paths, sizes and times of change, and every array is checked against its checksum:
    a changed source or a damaged entry is read again. Where the cache cannot be written, there is a warning and no
    cache.

    Args:
        cache_dir: Holds one folder for each entry; may be deleted at any time.
        name: Of the data set.
        sources: The files that `read` reads.
        read: Decodes them.

    Returns:
        The arrays; those from the cache are memory-mapped and read-only.
    """
    described = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in sources]
    digest = hashlib.sha256(json.dumps([_LAYOUT, name, described]).encode()).hexdigest()[:16]
    entry = cache_dir / f"{name.replace('/', '-')}-{digest}"
    arrays = _read_entry(entry)
    if arrays is None:
        arrays = read()
        try:
            _write_entry(entry, arrays, described)
        except OSError as error:
            _warn_once(
                f"{cache_dir} cannot be written ({error.strerror}): data sets are decoded again in every run"
            )
    return arrays


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def _read_entry(entry: Path) -> Arrays | None:
    try:
        checksums = json.loads((entry / _INDEX).read_text())["crc32"]
        arrays = {name: np.asarray(np.load(entry / f"{name}.npy", mmap_mode="r")) for name in checksums}
    except (OSError, ValueError, KeyError, TypeError, EOFError):  # missing or damaged
        return None
    intact = all(_checksum(array) == checksums[name] for name, array in arrays.items())
    return arrays if intact else None


def _write_entry(entry: Path, arrays: Arrays, sources: list) -> None:
    # The index comes last: without it, or with another's, an entry cut short does not count.
    entry.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        _replace(entry / f"{name}.npy", functools.partial(np.save, arr=np.ascontiguousarray(array)))
    index = {
        "sources": sources,
        "crc32": {name: _checksum(np.ascontiguousarray(a)) for name, a in arrays.items()},
    }
    _replace(entry / _INDEX, lambda file: file.write(json.dumps(index, indent=1).encode()))


def _replace(path: Path, write: Callable) -> None:
    """Writes a file beside the path and moves it there, so that nobody ever reads half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=3)
