"""Examples that files hold owner by owner, as LEAF and TensorFlow Federated do: joined, and nobody without any."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fedjax_sparse.data import own
from fedjax_sparse.data.files import Arrays
from fedjax_sparse.errors import UsageError

_MOST_NAMED = 3  # owners that a note names


class Share(NamedTuple):
    """What one owner holds: x [n, ...] and y [n]."""

    owner: str
    x: np.ndarray
    y: np.ndarray


def joined(where: str, shares: Iterable[Share]) -> Arrays:
    """All examples, owner after owner: x, y and client_train (names). Who holds nothing is left out, which is said.

    Raises:
        UsageError: Nobody holds anything, numbers of examples and labels differ, or examples of two owners do.
    """
    holding: list[Share] = []
    empty: list[str] = []
    for share in shares:
        if len(share.x) != len(share.y):
            raise UsageError(
                f"{where}: {share.owner} has {len(share.x)} examples and {len(share.y)} labels; as many are needed"
            )
        if not len(share.x):
            empty.append(share.owner)
            continue
        first = holding[0] if holding else share
        if share.x.shape[1:] != first.x.shape[1:] or share.x.dtype.kind != first.x.dtype.kind:
            own_form, other = (f"{one.x.dtype} {list(one.x.shape[1:])}" for one in (share, first))
            raise UsageError(f"{where}: examples of {share.owner} are {own_form}, of {first.owner} {other}")
        holding.append(share)
    if not holding:
        raise UsageError(f"{where}: holds no example")
    if empty:
        named = ", ".join(empty if len(empty) <= _MOST_NAMED else [*empty[:_MOST_NAMED], "..."])
        own.say(f"{where}: {len(empty)} of {len(empty) + len(holding)} users hold nothing: {named}; left out")
    return {
        "x": np.concatenate([share.x for share in holding]),
        "y": np.concatenate([share.y for share in holding]),
        own.CLIENTS: np.repeat([share.owner for share in holding], [len(share.x) for share in holding]),
    }


def in_two(where: str, train: Arrays, test: Arrays | None) -> Arrays:
    """The arrays of training and testing, as `own.arranged` takes them; every fifth is for testing where no file is."""
    if test is None:
        return own.split(where, train)
    return {
        "x_train": train["x"],
        "y_train": train["y"],
        "x_test": test["x"],
        "y_test": test["y"],
        own.CLIENTS: train[own.CLIENTS],
    }


def as_pixels(where: str, arrays: Arrays) -> Arrays:
    """Fractions that are grey levels divided by 255 as those levels, uint8, which is said; others as they are."""
    found = {name: array for name, array in arrays.items() if name.startswith("x")}
    if not all(_are_levels(x) for x in found.values()):
        return arrays
    own.say(f"{where}: x holds grey levels divided by 255, taken as uint8 images")
    return arrays | {name: np.rint(255 * x).astype(np.uint8) for name, x in found.items()}


def _are_levels(x: np.ndarray) -> bool:
    """Whether all are k / 255, as float32 has it, and not just zeros and ones."""
    if x.dtype.kind != "f" or not x.size or not 0 <= x.min() <= x.max() <= 1:
        return False
    levels = 255 * x.astype(np.float32)
    return bool(np.abs(levels - np.rint(levels)).max() < 1e-3 and ((x > 0) & (x < 1)).any())
