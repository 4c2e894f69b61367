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

from fedjax_sparse.errors import UsageError

# x_train, y_train, x_test, y_test and, where examples have natural owners, client_train.
Arrays = dict[str, np.ndarray]

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


def read_file(path: Path) -> Blob:
    """A file, decompressed where its first bytes say gzip, whatever its name says."""
    try:
        content = path.read_bytes()
        return Blob(str(path), gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


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


def read_npz(blob: Blob, required: Sequence[str], optional: Sequence[str] = ()) -> Arrays:
    """The named arrays of an npz file; never runs code from it.

    Raises:
        UsageError: Not a zip file, truncated, an array missing, or an array of Python objects.
    """
    try:
        file = np.load(io.BytesIO(blob.content), allow_pickle=False)
    except _UNREADABLE as error:
        raise UsageError(f"{blob.where}: not a readable npz file: {error}") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise UsageError(f"{blob.where}: a single array, not an npz file")
    with file:
        if missing := sorted(set(required) - set(file.files)):
            held = ", ".join(sorted(file.files)) or "nothing"
            raise UsageError(f"{blob.where}: lacks {', '.join(missing)} (holds {held})")
        wanted = [*required, *(name for name in optional if name in file.files)]
        return {name: _read_member(blob.where, file, name) for name in wanted}


def _read_member(where: str, file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        return file[name]
    except _UNREADABLE as error:
        raise UsageError(f"{where}: {name} cannot be read: {error}") from error
