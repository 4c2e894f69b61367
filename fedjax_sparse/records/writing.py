"""Files written whole or not at all, and what the operating system has against it in one line. No JAX here."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedjax_sparse.errors import RunError


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def replace(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, even after a crash, meets the old content or the new, never a part."""
    scratch = path.with_name(f"{path.name}.unfinished")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Turns what the operating system has against writing a file into a `RunError`."""
    try:
        yield path
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
