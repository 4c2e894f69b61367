"""Pruning below a percentile against NumPy's."""

import jax
import numpy as np
import pytest

from fedjax_sparse.sparsity.percentile import at_least_percentile
from tests.baselines.personal_twin import below_percentile


@pytest.mark.parametrize("percent", [0, 5, 12.5, 20, 50, 99.99])
@pytest.mark.parametrize("living", [0, 1, 2, 20, 21, 40])
def test_it_is_numpys_percentile_over_what_lives(percent, living):
    rng = np.random.default_rng(living)
    weights = np.round(rng.normal(size=40), 1).astype(np.float32)  # with ties and zeros
    mask = rng.permutation(40) < living
    found = jax.jit(lambda w, m: at_least_percentile(w, m, percent, True))(weights, mask)
    np.testing.assert_array_equal(found, below_percentile(weights.astype(float), mask, percent))


def test_other_leaves_keep_their_masks():
    mask = np.asarray([True, False])
    assert at_least_percentile(np.ones(2), mask, 50, False) is mask
