import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.sparsity import shares
from tests.baselines.flash_twin import shares_exact, shares_official

CEIL, FLOOR, APPORTION = jax.jit(shares.ceil_share), jax.jit(shares.floor_share), jax.jit(shares.apportion)
ROUNDED_UP = jax.jit(shares.rounded_up)


@given(st.integers(0, 2**31 - 1), st.integers(1, 2**30 - 1), st.floats(0, 1))
def test_counts_are_exact(total, whole, share):
    part = int(share * whole)
    arguments = np.int32(total), np.int32(part), np.int32(whole)
    assert int(CEIL(*arguments)) == -(-total * part // whole)
    assert int(FLOOR(*arguments)) == total * part // whole


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=3, max_size=3), st.integers(1, 30))
def test_seats_are_those_of_giving_them_one_by_one(layers, total):
    weights, rooms = zip(*layers, strict=True)
    with jax.enable_x64(True):
        exact = np.asarray(weights) * (total / max(sum(weights), 1))
        found = APPORTION(exact, np.int32(total), np.asarray(rooms, np.int32))
    assert found.tolist() == shares_exact(list(exact), total, rooms)


@pytest.mark.parametrize("total", [0, 7, 100])
def test_no_more_than_there_is_room_for(total):
    found = APPORTION(np.full(2, total / 2, np.float32), np.int32(total), np.asarray([1, 9], np.int32))
    assert found.sum() == min(total, 10)
    assert found[0] == min(1, total)


@pytest.mark.parametrize(
    ("wanted", "rooms"),
    [
        ([1.2, 3.5, 0.3], [9, 9, 9]),
        ([4.2, 1.0, 0.0], [3, 9, 50]),
        ([5.0, 7.0, 2.0], [4, 4, 4]),
        ([0.0] * 3, [5, 0, 1]),
    ],
)
def test_shares_are_rounded_up_as_flash_does(wanted, rooms):
    with jax.enable_x64(True):
        found = ROUNDED_UP(np.asarray(wanted), np.asarray(rooms, np.int32))
    assert found.tolist() == shares_official(wanted, 0, rooms)
