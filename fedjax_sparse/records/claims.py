"""Who may write into a run folder: one process at a time, by a lock that dies with its process. No JAX here."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import itertools
import os
import platform
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedjax_sparse.errors import UsageError

LOCK = ".lock"


class TakenError(UsageError):
    """The folder is somebody else's: it holds a run, or another process is about to write one."""


@contextlib.contextmanager
def new(names: Iterable[Path]) -> Iterator[Path]:
    """Makes the folder of a new run and holds it: the first of some names that nobody has taken.

    If nothing has been written into it in the end, because the run was refused, it is gone again.

    Raises:
        TakenError: All names are taken.
        UsageError: The folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        refusal = None
        for name in names:
            try:
                stack.enter_context(_made(name))
            except TakenError as error:
                refusal = error
            else:
                yield name
                return
        assert refusal is not None, "no names"
        raise refusal


def automatic(what: str) -> Iterator[Path]:
    """Names for a folder that nobody named: runs/<what>-<time>, then with -2, -3, ... behind.

    Not every file system takes a colon.
    """
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    first = Path("runs") / f"{what.replace(':', '.')}-{now}"
    yield first
    for number in itertools.count(2):
        yield first.with_name(f"{first.name}-{number}")


def of_several(out: Path | None, marker: str, what: str) -> contextlib.AbstractContextManager[Path]:
    """Holds the folder of several runs, in which they go on, or makes it; folders of runs have locks of their own.

    Args:
        out: The folder; None for a new one under runs/.
        marker: The file by which a folder of that kind is known.
        what: What a new one is called.

    Raises:
        UsageError: The folder holds something else or is in use.
    """
    if out is None:
        return new(automatic(what))
    return held(out) if (out / marker).is_file() else new([out])


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Holds a folder, so that no other process writes there.

    Raises:
        TakenError: Another process holds it; the error names that process.
        UsageError: The folder cannot be written.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write run folder {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise TakenError(
                f"run folder {folder} is in use by {file.read() or 'another process'}: let it end, or stop it"
            ) from None
        except OSError as error:  # of a network whose file system has no locks
            warnings.warn(
                f"{folder} cannot be locked ({error.strerror}): let no other process write there",
                stacklevel=3,
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield folder


@contextlib.contextmanager
def _made(out: Path) -> Iterator[None]:
    """Makes a folder where there is none and holds it; what is still empty in the end is removed."""
    try:
        missing = [folder for folder in (out, *out.parents) if not folder.exists()]
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # also a name that no folder can have
        raise UsageError(
            f"cannot write run folder {out}: {getattr(error, 'strerror', None) or error}"
        ) from error
    try:
        _check_empty(out)  # before a lock is put there
        with held(out):
            _check_empty(out)
            try:
                yield
            finally:
                if not _content(out):
                    (out / LOCK).unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in missing:
                folder.rmdir()


def _check_empty(out: Path) -> None:
    if _content(out):
        raise TakenError(f"run folder {out} is not empty: choose another, or resume the run that it holds")


def _content(folder: Path) -> list[Path]:
    return [entry for entry in folder.glob("*") if entry.name != LOCK]
