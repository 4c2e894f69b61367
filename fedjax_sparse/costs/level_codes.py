"""Writes and reads signed levels, bit for bit as QSGD counts them; a check on the counts, never in a run.

Levels come in buckets of known sizes, each level between -most and most:

    fixed           a sign and the level, in 1 + ceil(log2(most + 1)) bits each
    elias-dense     for each entry the code of level + 1 and, where that is not 1, a sign
    elias-sparse    for each entry that is not zero the code of its distance from the one before (or from the bucket's
                    start), a sign and the code of its level; then that of the distance to the bucket's end

The code of n >= 1 is Elias' omega code. The last byte is filled with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

CODINGS = ("fixed", "elias-sparse", "elias-dense")


def level_bits(most: int) -> int:
    """Bits of a level between 0 and `most` where all take the same number."""
    return most.bit_length()


def write(buckets: Sequence[np.ndarray], coding: str, most: int) -> bytes:
    """The levels (int[n] each) as one stream of bits."""
    one = {"fixed": _fixed, "elias-sparse": _sparse, "elias-dense": _dense}[coding]
    text = "".join(one(bucket.tolist(), most) for bucket in buckets)
    return np.packbits(np.array(list(text), np.uint8)).tobytes()


def read(payload: bytes, sizes: Sequence[int], coding: str, most: int) -> list[np.ndarray]:
    """What `write` wrote of buckets of these sizes."""
    bits = iter(np.unpackbits(np.frombuffer(payload, np.uint8)).tolist())
    one = {"fixed": _read_fixed, "elias-sparse": _read_sparse, "elias-dense": _read_dense}[coding]
    return [np.array(one(bits, size, most), int) for size in sizes]


def elias(n: int) -> str:
    """Elias' omega code of n >= 1, in zeros and ones."""
    code = "0"
    while n > 1:
        code = f"{n:b}{code}"
        n = n.bit_length() - 1
    return code


def _fixed(levels: list[int], most: int) -> str:
    width = level_bits(most)
    return "".join(f"{int(level < 0)}{abs(level):0{width}b}" for level in levels)


def _dense(levels: list[int], most: int) -> str:
    del most
    return "".join(elias(abs(level) + 1) + (str(int(level < 0)) if level else "") for level in levels)


def _sparse(levels: list[int], most: int) -> str:
    del most
    text, before = "", -1
    for i, level in enumerate(levels):
        if level:
            text += elias(i - before) + str(int(level < 0)) + elias(abs(level))
            before = i
    return text + elias(len(levels) - before)


def _read_fixed(bits: Iterator[int], size: int, most: int) -> list[int]:
    return [_signed(next(bits), _number(bits, level_bits(most))) for _ in range(size)]


def _read_dense(bits: Iterator[int], size: int, most: int) -> list[int]:
    del most
    levels = []
    for _ in range(size):
        level = _read_elias(bits) - 1
        levels.append(_signed(next(bits), level) if level else 0)
    return levels


def _read_sparse(bits: Iterator[int], size: int, most: int) -> list[int]:
    del most
    levels, place = [0] * size, _read_elias(bits) - 1
    while place < size:
        negative = next(bits)
        levels[place] = _signed(negative, _read_elias(bits))
        place += _read_elias(bits)
    return levels


def _read_elias(bits: Iterator[int]) -> int:
    n = 1
    while next(bits):
        n = (1 << n) | _number(bits, n)
    return n


def _number(bits: Iterator[int], width: int) -> int:
    return int("".join(str(next(bits)) for _ in range(width)) or "0", 2)


def _signed(negative: int, level: int) -> int:
    return -level if negative else level
