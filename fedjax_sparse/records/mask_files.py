"""Masks of the server's model, one file for each evaluated round, beside the rows of a run. No JAX here.

    FOLDER/masks/<round>.npz
        server/NAME     u8[ceil(n / 8)], a bit for each of the n entries of a leaf that may be pruned: set where it
                        lives
        pairs/NAME      f32[C, C], what the round logged by pair of the clients of its cohort, NaN where one was absent

A file is written before its row: one without a row is of a run that was stopped, and is not read.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedjax_sparse.errors import RunError
from fedjax_sparse.records.writing import replace, writing

MASKS = "masks"
_SERVER, _PAIRS = "server/", "pairs/"


class Kept(NamedTuple):
    """What was kept of one round.

    Attributes:
        round: Which.
        server: u8[B], the masks of all leaves, one after another, each in whole bytes.
        pairs: Name -> f32[C, C].
    """

    round: int
    server: np.ndarray
    pairs: Mapping[str, np.ndarray]


def write(folder: Path, t: int, server: Mapping[str, np.ndarray], pairs: Mapping[str, np.ndarray]) -> None:
    """Keeps what belongs to round t in the folder of a seed: bool arrays by leaf, and f[C, C] by name.

    Raises:
        RunError: The disk is full or not writable.
    """
    arrays = {_SERVER + name: np.packbits(mask) for name, mask in server.items()}
    arrays |= {_PAIRS + name: np.asarray(values, np.float32) for name, values in pairs.items()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    with writing(folder / MASKS / f"{t}.npz") as path:
        path.parent.mkdir(exist_ok=True)
        replace(path, content.getvalue())


def read(folder: Path, rounds: Iterable[int]) -> list[Kept]:
    """What was kept of these rounds in the folder of a seed, in their order; a round of which nothing was is left out.

    Raises:
        RunError: A file is damaged.
    """
    files = {t: folder / MASKS / f"{t}.npz" for t in rounds}
    return [_read(t, file) for t, file in files.items() if file.is_file()]


def _read(t: int, file: Path) -> Kept:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            server = [arrays[name] for name in arrays if name.startswith(_SERVER)]
            pairs = {name.removeprefix(_PAIRS): arrays[name] for name in arrays if name.startswith(_PAIRS)}
            return Kept(t, np.concatenate(server), pairs)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"{file} is damaged: {error}") from error
