"""Writes and reads the messages whose lengths `costs` counts, byte for byte; a check on the counts, never in a run.

A message carries, of a list of arrays of one dtype, the entries where `keep` holds; the receiver reads the others as
zero. Where `known` holds the receiver expects a value, so that only the other entries that are sent have to be
located, among all positions that are not known. If both sides also know that nothing is sent outside some mask,
encode the entries inside it: `[array[mask]]`. The layout, values and indices being little-endian:

    dense            every entry, zero where not kept
    values+indices   the kept entries in order; then, for each located one, its index among the unknown positions
    bitmask          the kept entries in order; then, only if any is located, one bit for each unknown position

Shapes, dtype and the encoding's name travel beside the payload and are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedjax_sparse import errors
from fedjax_sparse.costs import prices


class Encoded(NamedTuple):
    """A message: the bytes that count, and the name of the encoding that they are in (never `smallest`)."""

    encoding: str
    payload: bytes


def encode(
    arrays: Sequence[np.ndarray],
    encoding: str,
    *,
    keep: Sequence[np.ndarray],
    known: Sequence[np.ndarray] | None = None,
) -> Encoded:
    """Writes the kept entries of the arrays.

    Args:
        arrays: Of any shapes and one dtype (ml_dtypes' bfloat16 included).
        encoding: One of `costs.ENCODINGS`; `smallest` takes the shortest payload, the first of `dense`,
            `values+indices`, `bitmask` in a tie.
        keep: bool masks of the arrays' shapes: the entries sent.
        known: bool masks of the same shapes: where the receiver expects a value; part of `keep`. None: nowhere.

    Raises:
        UsageError: If there is no such encoding, or masks or dtypes do not fit.

    Example:
        Three of a hundred float32 with positions of four bytes are shorter than with a bit for every place:

        >>> values = np.arange(100, dtype=np.float32)
        >>> message = encode([values], "smallest", keep=[values > 96])
        >>> message.encoding, len(message.payload)
        ('values+indices', 24)
        >>> decode(message, [(100,)], np.float32)[0].sum()
        np.float32(294.0)
    """
    if encoding not in prices.ENCODINGS:
        errors.unknown_name("encoding", encoding, prices.ENCODINGS)
    if len({array.dtype for array in arrays}) != 1:
        raise errors.UsageError(
            f"arrays of dtypes {[str(a.dtype) for a in arrays]} in one message: one is allowed"
        )
    shapes = [array.shape for array in arrays]
    kept, expected = _flat_mask(keep, shapes), _flat_known(known, shapes)
    if np.any(expected & ~kept):
        raise errors.UsageError("known must be part of keep: the receiver expects a value that is not sent")
    flat = np.concatenate([array.ravel() for array in arrays])
    payloads = {name: write(flat, kept, kept[~expected]) for name, write in _WRITERS.items()}
    chosen = min(payloads, key=lambda name: len(payloads[name])) if encoding == "smallest" else encoding
    return Encoded(chosen, payloads[chosen])


def decode(
    message: Encoded,
    shapes: Sequence[tuple[int, ...]],
    dtype: np.dtype,
    *,
    known: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Reads what `encode` wrote: the arrays, with zeros where nothing was kept."""
    expected = _flat_known(known, shapes)
    if message.encoding == "dense":
        flat = np.frombuffer(message.payload, dtype)
    else:
        read = {"values+indices": _read_indices, "bitmask": _read_bitmask}[message.encoding]
        kept = expected.copy()
        kept[~expected] = read(message.payload, np.dtype(dtype).itemsize, expected)
        flat = np.zeros(expected.size, dtype)
        flat[kept] = np.frombuffer(message.payload, dtype, count=np.count_nonzero(kept))
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]


def pack_bits(masks: Sequence[np.ndarray]) -> bytes:
    """Masks sent as such, beside values: one bit an entry, the last byte filled with zeros."""
    return np.packbits(np.concatenate([np.ravel(mask) for mask in masks])).tobytes()


def unpack_bits(payload: bytes, count: int) -> np.ndarray:
    """The first `count` bits that `pack_bits` wrote, bool[count]."""
    return np.unpackbits(np.frombuffer(payload, np.uint8), count=count).astype(bool)


def _write_dense(flat: np.ndarray, kept: np.ndarray, located: np.ndarray) -> bytes:
    del located
    return np.where(kept, flat, np.zeros((), flat.dtype)).tobytes()


def _write_indices(flat: np.ndarray, kept: np.ndarray, located: np.ndarray) -> bytes:
    return flat[kept].tobytes() + np.flatnonzero(located).astype(_index_dtype(located.size)).tobytes()


def _write_bitmask(flat: np.ndarray, kept: np.ndarray, located: np.ndarray) -> bytes:
    return flat[kept].tobytes() + (pack_bits([located]) if located.any() else b"")


_WRITERS = {"dense": _write_dense, "values+indices": _write_indices, "bitmask": _write_bitmask}


def _read_indices(payload: bytes, value_bytes: int, expected: np.ndarray) -> np.ndarray:
    """Which of the unknown positions are kept, bool; their number follows from the payload's length."""
    located = np.zeros(np.count_nonzero(~expected), bool)
    index = _index_dtype(located.size)
    rest = len(payload) - value_bytes * np.count_nonzero(expected)
    count = rest // (value_bytes + index.itemsize)
    located[np.frombuffer(payload[len(payload) - count * index.itemsize :], index)] = True
    return located


def _read_bitmask(payload: bytes, value_bytes: int, expected: np.ndarray) -> np.ndarray:
    """As `_read_indices`; without a bit mask, nothing is located."""
    universe = int(np.count_nonzero(~expected))
    if len(payload) == value_bytes * np.count_nonzero(expected):
        return np.zeros(universe, bool)
    return unpack_bits(payload[-((universe + 7) // 8) :], universe)


def _index_dtype(universe: int) -> np.dtype:
    return np.dtype(f"<u{prices.index_bytes(universe)}")


def _flat_known(known: Sequence[np.ndarray] | None, shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    return _flat_mask([np.zeros(shape, bool) for shape in shapes] if known is None else known, shapes)


def _flat_mask(masks: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """The masks as one bool vector.

    Raises:
        UsageError: If a mask is not bool or not of its array's shape.
    """
    for mask, shape in zip(masks, shapes, strict=True):
        if mask.dtype != bool or mask.shape != tuple(shape):
            raise errors.UsageError(f"a mask is {mask.dtype}{list(mask.shape)}; allowed: bool{list(shape)}")
    return np.concatenate([mask.ravel() for mask in masks])
