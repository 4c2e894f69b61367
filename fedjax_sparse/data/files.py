"""Bytes of the files that data sets come as, compressed or not, with errors that name the file."""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.npyio import NpzFile

from fedjax_sparse.errors import UsageError

# x_train, y_train, x_test, y_test and, where examples have natural owners, client_train.
Arrays = dict[str, np.ndarray]

MOST_BYTES = 8 * 2**30  # that a file may hold, decompressed

# What the standard library and NumPy raise on damaged archives; a damaged header may ask for any amount of memory.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
)


class Blob(NamedTuple):
    """What one file holds, decompressed; `where` is its name in error messages."""

    where: str
    content: bytes

    @property
    def text(self) -> str:
        """The content as UTF-8."""
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.where}: not UTF-8 text: {error}") from error


class Format(NamedTuple):
    """One way in which a data set is distributed.

    Attributes:
        files: Paths below the data set's folder. A name with `.gz` stands for the plain file too, and the reverse.
        parse: Makes arrays of what the files hold, in this order.
        archive: A tar file that holds all of `files`, accepted in their place.
    """

    files: tuple[str, ...]
    parse: Callable[[Sequence[Blob]], Arrays]
    archive: str | None = None

    def find(self, folder: Path) -> list[Path]:
        """Those of the files that are there, or the archive alone; complete if `is_complete`."""
        found = [path for name in self.files if (path := _plain_or_gz(folder / name))]
        if len(found) < len(self.files) and self.archive and (folder / self.archive).is_file():
            return [folder / self.archive]
        return found

    def missing(self, folder: Path) -> str:
        """The names of those of the files that are not there, for people."""
        return _names([name for name in self.files if _plain_or_gz(folder / name) is None])

    def is_complete(self, found: Sequence[Path]) -> bool:
        """Whether `found` is everything that `read` needs."""
        return len(found) == len(self.files) or any(path.name == self.archive for path in found)

    def read(self, found: Sequence[Path]) -> Arrays:
        """The arrays in the files that `find` gave."""
        if found[0].name == self.archive:
            return self.parse(_read_members(found[0], self.files))
        return self.parse([read_file(path) for path in found])

    def __str__(self) -> str:
        """The file names, for people."""
        return _names(self.files) + (f" or {self.archive}" if self.archive else "")


def _names(files: Sequence[str]) -> str:
    if len(files) <= 4:
        return ", ".join(files)
    return f"{files[0]}, ..., {files[-1]} ({len(files)} files)"


def _plain_or_gz(path: Path) -> Path | None:
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    return next((p for p in (path, other) if p.is_file()), None)


def existing(path: Path) -> Path:
    """The path, once it is clear that a file is there.

    Raises:
        UsageError: Nothing is there, or a folder.
    """
    try:
        if path.is_file():
            return path
        found = "is a folder, not a file" if path.is_dir() else "no such file"
    except (OSError, ValueError) as error:  # a name that no file can have
        found = f"no such file: {getattr(error, 'strerror', None) or error}"
    raise UsageError(f"{path}: {found}")


def read_file(path: Path) -> Blob:
    """A file, decompressed where its first bytes say gzip, whatever its name says."""
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MOST_BYTES:
        raise UsageError(f"{path}: holds more than {MOST_BYTES >> 30} GiB")
    return Blob(str(path), content)


def _read_members(path: Path, names: Sequence[str]) -> list[Blob]:
    # The whole archive is decompressed first: only at the end of the stream does gzip verify its checksum.
    archive = read_file(path)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
            members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
            streams = [tar.extractfile(members[name]) for name in names]
            contents = [stream.read() for stream in streams if stream is not None]
    except _UNREADABLE as error:
        raise UsageError(f"{path}: not a complete tar archive of {names[0]} and the like: {error}") from error
    return [Blob(f"{path}:{name}", content) for name, content in zip(names, contents, strict=True)]


def read_npz(blob: Blob, required: Sequence[str]) -> Arrays:
    """The named arrays of an npz file, which may hold others; never runs code from it.

    Raises:
        UsageError: Not a zip file, truncated, an array missing, larger than `MOST_BYTES`, or of Python objects.
    """
    with open_npz(blob) as file:
        if missing := sorted(set(required) - set(file.files)):
            held = ", ".join(sorted(file.files)) or "nothing"
            raise UsageError(f"{blob.where}: lacks {', '.join(missing)} (holds {held})")
        return {name: read_member(blob.where, file, name) for name in required}


def open_npz(blob: Blob) -> NpzFile:
    """An npz file of which nothing has been decompressed yet.

    Raises:
        UsageError: It is something else, damaged, or too large.
    """
    # NumPy would take a single array, or advise to run what an unknown file holds.
    if not blob.content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        is_array = blob.content.startswith(b"\x93NUMPY")
        raise UsageError(
            f"{blob.where}: {'a single array, not an npz file' if is_array else 'not an npz file'}; "
            "allowed: what numpy.savez writes"
        )
    try:
        file = np.load(io.BytesIO(blob.content), allow_pickle=False)
        size = sum(member.file_size for member in file.zip.infolist())
    except _UNREADABLE as error:
        raise UsageError(f"{blob.where}: not a readable npz file: {error}") from error
    if size > MOST_BYTES:
        raise UsageError(
            f"{blob.where}: holds {size / 2**30:.3g} GiB, decompressed; allowed: at most {MOST_BYTES >> 30}"
        )
    return file


def read_member(where: str, file: NpzFile, name: str) -> np.ndarray:
    """One array of an open npz file."""
    try:
        return file[name]
    except _UNREADABLE as error:
        reason = str(error)
        if "Object arrays" in reason:  # NumPy's own words advise to run what the file holds
            reason = "it holds Python objects; allowed: numbers or text"
        raise UsageError(f"{where}: {name} cannot be read: {reason}") from error
