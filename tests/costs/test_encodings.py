"""The encoder reads back what it wrote, and its lengths are those that `costs` predicts."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedjax_sparse import errors
from fedjax_sparse.costs import encodings, prices
from fedjax_sparse.types import Message

DTYPES = [np.dtype(np.float32), np.dtype(np.float64), np.dtype(ml_dtypes.bfloat16)]
CONCRETE = ("dense", "values+indices", "bitmask")


def counts(keep, known) -> Message:
    """What an algorithm would report for one client that sends this."""
    kept, expected = (np.concatenate([m.ravel() for m in masks]) for masks in (keep, known))
    numbers = (kept.size, kept.sum(), (kept & ~expected).sum(), (~expected).sum(), 0, 0)
    return Message(*(jnp.asarray([n], jnp.int32) for n in numbers))


@st.composite
def messages(draw):
    """Arrays of random bytes (NaN, infinities, negative zeros included), what is sent, and what is known of it."""
    dtype = draw(st.sampled_from(DTYPES))
    shapes = draw(st.lists(hnp.array_shapes(max_dims=3, max_side=6), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density, certainty = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])), draw(st.sampled_from([0.0, 0.5, 1.0]))
    arrays = [rng.bytes(int(np.prod(shape)) * dtype.itemsize) for shape in shapes]
    arrays = [np.frombuffer(a, dtype).reshape(shape) for a, shape in zip(arrays, shapes, strict=True)]
    keep = [rng.random(shape) < density for shape in shapes]
    known = [k & (rng.random(k.shape) < certainty) for k in keep]
    return arrays, keep, known


@pytest.mark.parametrize("name", prices.ENCODINGS)
@settings(max_examples=150)
@given(case=messages())
def test_round_trip_and_length(name, case):
    arrays, keep, known = case
    dtype, shapes = arrays[0].dtype, [a.shape for a in arrays]
    message = encodings.encode(arrays, name, keep=keep, known=known)
    assert len(message.payload) == prices.message_bytes(counts(keep, known), name, dtype.itemsize)
    decoded = encodings.decode(message, shapes, dtype, known=known)
    for array, mask, got in zip(arrays, keep, decoded, strict=True):
        assert got.dtype == dtype
        assert got.tobytes() == np.where(mask, array, np.zeros((), dtype)).tobytes()


def test_smallest_names_the_encoding_it_took():
    arrays = [np.arange(1.0, 801.0, dtype=np.float32)]
    for kept, expected in [(1, "values+indices"), (200, "bitmask"), (799, "dense")]:
        message = encodings.encode(arrays, "smallest", keep=[np.arange(800) < kept])
        assert message.encoding == expected
        assert message.encoding in CONCRETE


def test_layout_by_hand():
    """Four values, the second known and sent, the fourth found: index 2 among the three unknown positions."""
    array = [np.array([1.0, 2.0, 3.0, 4.0], np.float32)]
    keep, known = [np.array([False, True, False, True])], [np.array([False, True, False, False])]
    values = np.array([2.0, 4.0], "<f4").tobytes()
    assert encodings.encode(array, "values+indices", keep=keep, known=known).payload == values + bytes(
        [2, 0, 0, 0]
    )
    assert encodings.encode(array, "bitmask", keep=keep, known=known).payload == values + bytes([0b00100000])


def test_positions_that_both_sides_know_to_be_empty_are_left_out_by_the_caller():
    """A nested mask: the receiver holds the old one, so only its entries are candidates for the new one."""
    old, new = np.arange(64) % 2 == 0, np.arange(64) % 4 == 0
    array = np.arange(64, dtype=np.float32)
    message = encodings.encode([array[old]], "bitmask", keep=[new[old]])
    assert len(message.payload) == 16 * 4 + 32 // 8
    (inside,) = encodings.decode(message, [(32,)], array.dtype)
    assert np.array_equal(inside, np.where(new, array, 0)[old])


@given(mask=hnp.arrays(bool, st.integers(0, 40)))
def test_masks_sent_as_such(mask):
    payload = encodings.pack_bits([mask[:3], mask[3:]])
    sent = Message(*(jnp.asarray([n], jnp.int32) for n in (0, 0, 0, 0, mask.size, 0)))
    assert len(payload) == prices.message_bytes(sent, "dense", 4)
    assert np.array_equal(encodings.unpack_bits(payload, mask.size), mask)


def test_errors():
    array, mask = np.ones(3, np.float32), np.array([True, False, True])
    with pytest.raises(errors.UsageError, match="unknown encoding 'sparse'"):
        encodings.encode([array], "sparse", keep=[mask])
    with pytest.raises(errors.UsageError, match="one is allowed"):
        encodings.encode([array, array.astype(np.float64)], "dense", keep=[mask, mask])
    with pytest.raises(errors.UsageError, match="known must be part of keep"):
        encodings.encode([array], "bitmask", keep=[mask], known=[~mask])
    with pytest.raises(errors.UsageError, match=r"int64\[3\]; allowed: bool\[3\]"):
        encodings.encode([array], "bitmask", keep=[mask.astype(np.int64)])
