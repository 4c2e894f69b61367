"""A data set without its examples: what has to be known of it to build a model and an algorithm again."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedjax_sparse.data.arrays import Dataset


def of(dataset: Dataset) -> dict[str, Any]:
    """The outline of a data set, as JSON knows it."""
    return {
        "name": dataset.name,
        "task": dataset.task,
        "classes": dataset.classes,
        "x": {"shape": [*dataset.x_train.shape[1:]], "dtype": str(dataset.x_train.dtype)},
        "y": {"shape": [*dataset.y_train.shape[1:]], "dtype": str(dataset.y_train.dtype)},
        "mean": [*dataset.mean],
        "std": [*dataset.std],
    }


def blank(outline: Mapping[str, Any]) -> Dataset:
    """A data set with this outline, of one example of zeros to train on, and one to test on.

    Raises:
        KeyError, TypeError, ValueError, UsageError: This is no outline.
    """
    x, y = (np.zeros((1, *outline[name]["shape"]), np.dtype(outline[name]["dtype"])) for name in ("x", "y"))
    return Dataset(
        outline["name"],
        x,
        y,
        x,
        y,
        outline["task"],
        outline["classes"],
        mean=tuple(outline["mean"]),
        std=tuple(outline["std"]),
    )
