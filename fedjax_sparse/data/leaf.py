"""LEAF's JSON files: users, how many examples each holds, and their data (Caldas et al., arXiv 1812.01097).

    {"users": ["f01", ...], "num_samples": [12, ...], "user_data": {"f01": {"x": [...], "y": [...]}, ...}}

Rows of numbers are features, or images where they are a square of grey levels; strings of one length, each with the
character that follows, are text of which only that character is to be predicted.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_sparse.data import by_owner, own, text
from fedjax_sparse.data.by_owner import Share
from fedjax_sparse.data.files import Arrays, read_file
from fedjax_sparse.errors import UsageError

_LEAST_SIDE = 8  # of what is taken as a square image


def find(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files for training and for testing below a folder of LEAF; none where it is something else."""
    return sorted((folder / "train").glob("*.json")), sorted((folder / "test").glob("*.json"))


def read(where: str, train: Sequence[Path], test: Sequence[Path]) -> Arrays:
    """The arrays in LEAF's files, with their natural owners.

    Args:
        where: The data set, for messages.
        train: One file or more.
        test: None where every fifth example is to be for testing.

    Raises:
        UsageError: A file is not LEAF's, or holds something else than numbers or text of one length.
    """
    held = by_owner.joined(where, _shares(train))
    arrays = by_owner.in_two(where, held, by_owner.joined(f"{where}: test", _shares(test)) if test else None)
    if arrays["x_train"].dtype.kind == "U":
        return own.arranged(where, _encoded(where, arrays), {})
    return own.arranged(where, _squares(by_owner.as_pixels(where, arrays)), {})


def _shares(paths: Sequence[Path]) -> Iterator[Share]:
    for path in paths:
        blob = read_file(path)
        try:
            content = json.loads(blob.text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{blob.where}: not JSON: {error}") from None
        yield from _of_file(blob.where, content)


def _of_file(where: str, content: Any) -> Iterator[Share]:
    wanted = {"users": list, "num_samples": list, "user_data": Mapping}
    if not isinstance(content, Mapping) or not all(isinstance(content.get(k), v) for k, v in wanted.items()):
        raise UsageError(f"{where}: not LEAF's JSON; allowed: an object of users, num_samples and user_data")
    users, counts, data = (content[key] for key in wanted)
    if len(users) != len(counts):
        raise UsageError(f"{where}: {len(users)} users, and num_samples has {len(counts)} numbers")
    for user, count in zip(map(str, users), counts, strict=True):
        held = data.get(user)
        if not isinstance(held, Mapping) or not all(isinstance(held.get(key), list) for key in "xy"):
            raise UsageError(f"{where}: user_data has no lists x and y of user {user!r}")
        share = Share(user, *(_array(f"{where}: {key} of user {user!r}", held[key]) for key in "xy"))
        if len(share.x) != count:
            raise UsageError(f"{where}: user {user!r} has {len(share.x)} examples, num_samples says {count}")
        yield share


def _array(where: str, values: list[Any]) -> np.ndarray:
    """Numbers f64[n, ...] or i64[n, ...], or text U[n] of one length."""
    if any(isinstance(value, str) for value in values):
        if not all(isinstance(value, str) for value in values) or len({*map(len, values)}) > 1:
            raise UsageError(
                f"{where} holds text of several lengths; allowed: strings of one length, or numbers"
            )
        return np.array(values)
    try:
        array = np.array(values)
    except ValueError:
        raise UsageError(f"{where} is ragged; allowed: examples of one shape") from None
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{where} holds neither numbers nor strings of one length")
    return array


def _squares(arrays: Arrays) -> Arrays:
    """Rows of grey levels [M, S * S] as images [M, S, S]; and features, which LEAF may write as integers, as floats."""
    shaped = {}
    for name in ("x_train", "x_test"):
        x = arrays[name]
        side = math.isqrt(x.shape[-1])
        if x.dtype == np.uint8 and x.ndim == 2 and side**2 == x.shape[-1] and side >= _LEAST_SIDE:
            shaped[name] = x.reshape(-1, side, side)
        else:
            shaped[name] = x.astype(np.float64) if x.ndim == 2 else x
    return arrays | shaped


def _encoded(where: str, arrays: Arrays) -> Arrays:
    """Windows U[M] and what follows each as numbers, see `text`; all targets but the last are left out."""
    widths = {x.dtype.itemsize // 4 for x in (arrays["x_train"], arrays["x_test"])}
    if len(widths) > 1 or any(arrays[y].dtype != np.dtype("U1") for y in ("y_train", "y_test")):
        raise UsageError(
            f"{where}: x is text; allowed: windows of one length, and y the character after each"
        )
    vocabulary = np.unique(
        np.concatenate([_characters(arrays[name]).ravel() for name in ("x_train", "y_train")])
    )

    def codes(characters: np.ndarray) -> np.ndarray:
        places = np.minimum(np.searchsorted(vocabulary, characters), len(vocabulary) - 1)
        return np.where(vocabulary[places] == characters, places + 1, text.UNKNOWN).astype(np.int32)

    encoded = dict(arrays)
    for part in ("train", "test"):
        encoded[f"x_{part}"] = codes(_characters(arrays[f"x_{part}"]))
        encoded[f"y_{part}"] = np.full_like(encoded[f"x_{part}"], text.IGNORED)
        encoded[f"y_{part}"][:, -1] = codes(arrays[f"y_{part}"])
    return encoded


def _characters(strings: np.ndarray) -> np.ndarray:
    """U[M] of T characters each as U1[M, T]."""
    return np.ascontiguousarray(strings).view("U1").reshape(len(strings), -1)
