"""Levels are read back as they were written, in codes of known lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.costs import level_codes
from tests.baselines import compressors_twin

CODED = {
    "fixed": lambda levels, most: compressors_twin.fixed_bits(len(levels), most) - 32,
    "elias-sparse": lambda levels, most: compressors_twin.elias_sparse_bits(levels) - 32 + end_bits(levels),
    "elias-dense": lambda levels, most: compressors_twin.elias_dense_bits(levels) - 32,
}


def end_bits(levels):
    last = int(np.flatnonzero(levels)[-1]) if np.any(levels) else -1
    return compressors_twin.elias(len(levels) - last)


@st.composite
def buckets(draw):
    most = draw(st.sampled_from([1, 2, 3, 4, 15, 255, 65535]))
    level = st.one_of(st.just(0), st.integers(-most, most))
    several = draw(st.lists(st.lists(level, min_size=1, max_size=40), min_size=1, max_size=3))
    return [np.array(bucket, int) for bucket in several], most


@pytest.mark.parametrize("coding", level_codes.CODINGS)
@given(case=buckets())
def test_round_trip_and_length(coding, case):
    several, most = case
    written = level_codes.write(several, coding, most)
    assert len(written) == -(-sum(CODED[coding](bucket, most) for bucket in several) // 8)
    got = level_codes.read(written, [len(bucket) for bucket in several], coding, most)
    for actual, expected in zip(got, several, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_codes_by_hand():
    assert [level_codes.elias(n) for n in (1, 2, 3, 4, 16)] == ["0", "100", "110", "101000", "10100100000"]
    assert level_codes.write([np.array([-3, 0, 1])], "fixed", 3) == bytes([0b11100000, 0b10000000])
