"""What was sent, in bytes, and the work done, in FLOPs: counts from the device become exact integers on the host.

Everything is computed with Python integers: a round of 1,000 clients with 11 million parameters is already past
int32, and examples x entries x positions, summed over a run, can pass int64. No JAX here. All functions accept
further leading axes (rounds, seeds) and sum over them too.

Bytes. A message of values in a sparse encoding consists of the values and of what the receiver needs to place those
that lie where it cannot know; codes of a few bits, such as signs, may stand for the rest. The name of the encoding,
shapes and dtypes are known to both sides and are not counted; `encodings` writes such messages, and its lengths are the
numbers given here.

FLOPs. Two per multiply-add; kernels only (biases, norms, activations and the optimizer are left out); positions in
the padding of a convolution count like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fedjax_sparse import errors

if TYPE_CHECKING:  # `types` imports JAX
    from fedjax_sparse.types import Message, Work

ENCODINGS = {
    "dense": "every value, zeros included",
    "values+indices": "the values sent, and a 4-byte index for each that the receiver cannot place",
    "bitmask": "the values sent, and one bit for each position where the receiver cannot know",
    "smallest": "the smallest of the others, for each message on its own",
}


@dataclass(frozen=True)
class Totals:
    """What a run has cost so far: Python numbers that only grow; `dataclasses.asdict` makes them JSON.

    Attributes:
        uplink_bytes: From the clients to the server.
        downlink_bytes: From the server to the clients.
        flops: Training, live entries only.
        flops_dense: The same training, had nothing been pruned.
        simulated_seconds: As clients would see them, see `networks`; a float, and 0 where nothing is known of clients.
        values: Scalars sent, both ways, zeros and positions left out; None where a run began before they were counted.
    """

    uplink_bytes: int = 0
    downlink_bytes: int = 0
    flops: int = 0
    flops_dense: int = 0
    simulated_seconds: float = 0.0
    values: int | None = 0

    def __add__(self, other: Totals) -> Totals:
        """The two runs (or rounds) after each other."""
        return Totals(
            self.uplink_bytes + other.uplink_bytes,
            self.downlink_bytes + other.downlink_bytes,
            self.flops + other.flops,
            self.flops_dense + other.flops_dense,
            self.simulated_seconds + other.simulated_seconds,
            None if self.values is None or other.values is None else self.values + other.values,
        )


def index_bytes(universe: int) -> int:
    """Bytes of the index of one among `universe` positions: 4, or 8 where 32 bits are too few."""
    return 4 if universe <= 2**32 else 8


def bytes_per_client(message: Message, encoding: str, value_bytes: int) -> np.ndarray:
    """Bytes of each client's message.

    Args:
        message: Counts, each int[..., C].
        encoding: One of `ENCODINGS`.
        value_bytes: Bytes of one value, at least 1: 4 for float32.

    Returns:
        [..., C] of Python integers (dtype object); 0 where nothing was sent.

    Raises:
        UsageError: If there is no such encoding.
    """
    if encoding not in ENCODINGS:
        errors.unknown_name("encoding", encoding, ENCODINGS)
    errors.check_range("value_bytes", value_bytes, 1)
    size, values, located, universe, mask_bits, code_bits = (_exact(field) for field in message)
    codes = _ceil_bytes(code_bits)
    body = {
        "dense": value_bytes * size,
        "values+indices": value_bytes * values + located * np.frompyfunc(index_bytes, 1, 1)(universe) + codes,
        "bitmask": value_bytes * values + np.where(located > 0, _ceil_bytes(universe), 0) + codes,
    }
    body["smallest"] = np.minimum.reduce(list(body.values()))
    return body[encoding] + _ceil_bytes(mask_bits)


def message_bytes(message: Message, encoding: str, value_bytes: int) -> int:
    """Bytes of all clients' messages together; see `bytes_per_client`."""
    return sum(bytes_per_client(message, encoding, value_bytes).flat)


def flops_per_client(
    work: Work, uses: Sequence[int], input_grad: Sequence[bool], sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """FLOPs of each client's local training.

    A kernel entry that is used at `uses` positions of an example takes part in that many multiply-adds in the forward
    pass, in the gradient with respect to the layer's input, and in the gradient with respect to the kernel.

    Args:
        work: `examples` int[..., C] and live counts int[..., C, L].
        uses: For each of the L leaves, how often an example uses each of its entries: 1 for a dense layer, the number
            of output positions for a convolution, the number of time steps for a recurrent kernel, 0 for biases,
            norms and embeddings.
        input_grad: For each leaf, whether the gradient with respect to the layer's input is needed: not in a first
            layer, where the input is data.
        sizes: For each leaf, the number of its entries.

    Returns:
        The counts over live entries, and the counts had every entry been live: each [..., C] of Python integers (dtype
        object).
    """
    examples = _exact(work.examples)
    needed = _exact(input_grad)
    live = _exact(work.forward) + needed * _exact(work.input_grad) + _exact(work.weight_grad)
    sparse = (2 * examples[..., None] * live * _exact(uses)).sum(axis=-1)
    dense_per_example = sum((2 * _exact(uses) * _exact(sizes) * (2 + needed)).flat)
    return sparse, dense_per_example * examples


def flops(
    work: Work, uses: Sequence[int], input_grad: Sequence[bool], sizes: Sequence[int]
) -> tuple[int, int]:
    """FLOPs of local training, over all clients; see `flops_per_client`."""
    sparse, dense = flops_per_client(work, uses, input_grad, sizes)
    return sum(sparse.flat), sum(dense.flat)


def inference_flops(live: ArrayLike, uses: Sequence[int]) -> int:
    """FLOPs of one example's forward pass; `live` entries of each leaf, `uses` as in `flops`."""
    return sum((2 * _exact(live) * _exact(uses)).flat)


def _exact(counts: ArrayLike) -> np.ndarray:
    """The same counts as Python integers, in an array of dtype object."""
    return np.asarray(counts).astype(np.int64).astype(object)


def _ceil_bytes(bits: np.ndarray) -> np.ndarray:
    return (bits + 7) // 8
