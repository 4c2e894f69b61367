"""Arrays in one file, bit for bit: NumPy's .npz, whose path may hold any character, and read back once written."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write(path: Path, arrays: Sequence[np.ndarray]) -> None:
    """Writes arrays under their numbers, waits for the disk, and compares what can be read with what was to be written.

    Args:
        path: The file to make.
        arrays: Of any shapes and dtypes, also those that NumPy knows from JAX only (bfloat16).

    Raises:
        OSError: The disk is full or not writable, or the file does not read back as it was written.
    """
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{str(i): _plain(array) for i, array in enumerate(arrays)})
        file.flush()
        os.fsync(file.fileno())
    for written, array in zip(read(path, arrays), arrays, strict=True):
        if not np.array_equal(_bits(written), _bits(array)):
            raise OSError(f"{path.name} does not read back as it was written")


def read(path: Path, like: Sequence[Any]) -> Iterator[np.ndarray]:
    """Reads what `write` wrote, one array after the other.

    Args:
        path: The file.
        like: For each array something of its shape and dtype.

    Raises:
        OSError: The file cannot be read, or is not one that `write` wrote for such arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            for number, leaf in enumerate(like):
                yield file[str(number)].view(leaf.dtype).reshape(leaf.shape)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise OSError(f"{path.name} is not what was written: {error}") from error


def _plain(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that .npz knows: what NumPy has from elsewhere goes as unsigned integers of its width."""
    if array.dtype.isbuiltin == 1:
        return array
    return array.view(f"u{array.dtype.itemsize}")


def _bits(array: np.ndarray) -> np.ndarray:
    """Every byte of an array, so that NaNs are equal to themselves, and zeros to those of their sign."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
