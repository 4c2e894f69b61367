"""Arrays in one small file: of each, what is not zero, and where that is in the fewest bytes. No JAX here.

    8 bytes       MAGIC
    8 bytes       length of the header, little-endian
    header        JSON: `about`, which is the writer's, and for each array its name, dtype, shape, number of values and,
                  for the positions, one of
                      all         every entry is written
                      bitmask     one bit for each entry
                      gaps/k      Golomb-Rice codes of the gaps between values, see `costs.gap_codes`
                  and the bytes that the positions take
    arrays        the values that are not zero, in order, then the positions, array by array
    32 bytes      SHA-256 of all that stands before

Numbers are little-endian. A negative zero comes back as zero: in sums and products it makes no other difference.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  NumPy learns the name bfloat16 from it
import numpy as np

from fedjax_sparse.costs import encodings, gap_codes
from fedjax_sparse.errors import RunError

MAGIC = b"FJSPARSE"
_DIGEST = 32  # bytes


class _Positions(NamedTuple):
    """Where an array's values are: how it is written, in words, and as bytes."""

    form: str
    payload: bytes


def write(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file's content: what JSON can hold about the arrays, and the arrays by name."""
    body, entries = io.BytesIO(), []
    for name, array in arrays.items():
        flat = array.reshape(-1)
        kept = flat != 0
        positions = _positions(kept, array.dtype.itemsize)
        values = flat if positions.form == "all" else flat[kept]
        body.write(values.tobytes())
        body.write(positions.payload)
        entries.append(
            [name, array.dtype.name, array.shape, len(values), positions.form, len(positions.payload)]
        )
    header = json.dumps({"about": about, "arrays": entries}).encode()
    content = MAGIC + len(header).to_bytes(8, "little") + header + body.getvalue()
    return content + hashlib.sha256(content).digest()


def read(content: bytes, source: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write` was given.

    Args:
        content: Of the file; it begins with `MAGIC`.
        source: The file's name, for the error.

    Raises:
        RunError: The content is not what was written.
    """
    if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        raise RunError(f"{source} is damaged: it is not what was written")
    stream = io.BytesIO(content[len(MAGIC) :])
    header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    arrays = {}
    for name, kind, shape, count, form, length in header["arrays"]:
        dtype, size = np.dtype(kind), math.prod(shape)
        values = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
        flat = np.zeros(size, dtype)
        flat[_kept(_Positions(form, stream.read(length)), count, size)] = values
        arrays[name] = flat.reshape(shape)
    return header["about"], arrays


def _positions(kept: np.ndarray, value_bytes: int) -> _Positions:
    """The form in which values and positions together take the fewest bytes."""
    coded = gap_codes.write(kept)
    written = [
        _Positions("bitmask", encodings.pack_bits([kept])),
        _Positions(f"gaps/{coded.k}", coded.payload),
    ]
    smallest = min(written, key=lambda positions: len(positions.payload))
    zeros = kept.size - int(np.count_nonzero(kept))
    return smallest if len(smallest.payload) < zeros * value_bytes else _Positions("all", b"")


def _kept(positions: _Positions, count: int, size: int) -> np.ndarray:
    """bool[size]: where the values belong."""
    form, payload = positions
    if form == "all":
        return np.ones(size, bool)
    if form == "bitmask":
        return encodings.unpack_bits(payload, size)
    return gap_codes.read(gap_codes.Coded(int(form.removeprefix("gaps/")), payload), count, size)
