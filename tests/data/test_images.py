"""Images as bytes: smaller ones, and the moments that go with them."""

import numpy as np
import pytest

from fedjax_sparse.data import images
from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.errors import UsageError


def dataset(x):
    return Dataset("mine", x, np.zeros(len(x), np.int32), x[:1], np.zeros(1, np.int32), "classification", 2)


def test_moments_are_those_of_each_channel():
    x = np.random.default_rng(0).integers(0, 256, (5_000, 3, 2, 3), dtype=np.uint8)
    x[..., 2] = 7
    mean, std = images.moments(x)
    np.testing.assert_allclose(mean, (x / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std[:2], (x / 255).std(axis=(0, 1, 2))[:2], rtol=1e-12)
    assert std[2] == 1  # a constant channel is not divided by zero


def test_every_square_becomes_its_mean_and_moments_are_those_of_the_result():
    x = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 2)).astype(np.uint8)
    small = images.shrunk(dataset(x), 2)
    by_hand = np.asarray([[x[:, i : i + 2, j : j + 2].mean((1, 2)) for j in (0, 2, 4)] for i in (0, 2)])
    np.testing.assert_array_equal(small.x_train, np.rint(np.moveaxis(by_hand, 2, 0)).astype(np.uint8))
    np.testing.assert_array_equal(small.x_test, small.x_train[:1])
    np.testing.assert_allclose(small.mean, (small.x_train / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(small.std, (small.x_train / 255).std((0, 1, 2)))


@pytest.mark.parametrize("x", [np.zeros((2, 4, 6, 1), np.uint8), np.zeros((2, 3), np.float32)])
def test_what_cannot_be_cut_into_squares_is_refused(x):
    with pytest.raises(UsageError, match=r"--image-shrink = 3: examples of mine .* allowed: images"):
        images.shrunk(dataset(x), 3)
