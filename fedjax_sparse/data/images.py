"""Images as bytes: the moments that they are scaled by, and smaller ones of them."""

import dataclasses

import numpy as np

from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.errors import UsageError

_BLOCK = 4096  # images at a time: arrays of them in wider types take memory


def moments(x: np.ndarray) -> np.ndarray:
    """Mean and standard deviation f64[2, C] of each channel of x / 255 for uint8 x, exact sums of integers."""
    values = np.arange(256)
    histogram = np.zeros((x.shape[-1], 256), np.int64)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK].reshape(-1, x.shape[-1])
        histogram += [np.bincount(channel, minlength=256) for channel in block.T]
    count = histogram.sum(axis=1)
    mean = histogram @ values / count
    std = np.sqrt(np.maximum(histogram @ values**2 / count - mean**2, 0.0))
    return np.stack([mean, np.where(std > 0, std, 255.0)]) / 255  # a constant channel is only shifted


def shrunk(dataset: Dataset, factor: int) -> Dataset:
    """The data set with every square of pixels averaged to one, rounded to a byte; moments are those of the result.

    Args:
        dataset: Of images, uint8[M, H, W, C].
        factor: Pixels along a side of a square.

    Raises:
        UsageError: These are no images as bytes, or the factor does not divide their height and width.
    """
    shape = dataset.x_train.shape[1:]
    if dataset.x_train.dtype != np.uint8 or len(shape) != 3 or shape[0] % factor or shape[1] % factor:
        what = f"{dataset.x_train.dtype} of shape {shape}"
        raise UsageError(
            f"--image-shrink = {factor}: examples of {dataset.name} are {what}; "
            "allowed: images (uint8), and what divides their height and width"
        )
    x_train, x_test = (_averaged(x, factor) for x in (dataset.x_train, dataset.x_test))
    mean, std = (tuple(map(float, row)) for row in moments(x_train))
    return dataclasses.replace(dataset, x_train=x_train, x_test=x_test, mean=mean, std=std)


def _averaged(x: np.ndarray, factor: int) -> np.ndarray:
    count, height, width, channels = x.shape
    small = np.empty((count, height // factor, width // factor, channels), np.uint8)
    for start in range(0, count, _BLOCK):
        block = x[start : start + _BLOCK]
        squares = block.reshape(len(block), height // factor, factor, width // factor, factor, channels)
        small[start : start + _BLOCK] = np.rint(squares.mean((2, 4)))
    return small
