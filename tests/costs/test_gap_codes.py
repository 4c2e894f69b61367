"""Positions in few bits: what is read is what was written, in about as many bits as there is information."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.costs import gap_codes


def read_back(kept):
    return gap_codes.read(gap_codes.write(kept), int(np.count_nonzero(kept)), kept.size)


@given(st.lists(st.booleans(), max_size=200))
def test_positions_come_back(entries):
    kept = np.array(entries, bool)
    assert np.array_equal(read_back(kept), kept)


@pytest.mark.parametrize("place", [0, 1, 12_345, 99_999])
def test_a_single_position_far_away_comes_back(place):
    kept = np.zeros(100_000, bool)
    kept[place] = True
    assert np.array_equal(read_back(kept), kept)
    assert len(gap_codes.write(kept).payload) <= 4


def test_a_known_example_is_written_bit_for_bit():
    """Gaps 0, 3 and 1 take 8 bits with k = 0 as with k = 1; the first is taken: 1, 0001, 01."""
    kept = np.zeros(9, bool)
    kept[[0, 4, 6]] = True
    assert gap_codes.write(kept) == (0, bytes([0b10001010]))


@pytest.mark.parametrize("density", [0.2, 0.05, 0.01, 0.001])
def test_random_positions_take_hardly_more_than_their_entropy(density):
    size = 1_000_000
    kept = np.random.default_rng(0).random(size) < density
    p = np.mean(kept)
    entropy = -size * (p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert entropy < 8 * len(gap_codes.write(kept).payload) < 1.05 * entropy
