"""Validation sets: held out of the training examples, reproducible, without the test set."""

import numpy as np
import pytest

from fedjax_sparse.data import subsets
from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.errors import UsageError


def numbered(count: int, owners: list[int] | None = None) -> Dataset:
    """Training examples 0, 1, ..., and a test example of -1."""
    x = np.arange(count, dtype=np.float32)[:, None]
    client = None if owners is None else np.array(owners, np.int32)
    none = np.zeros(1, np.int32)
    return Dataset("numbered", x, np.zeros(count, np.int32), -x[:1] - 1, none, "classification", 2, client)


@pytest.mark.parametrize(("share", "held_out"), [(0.3, 3), (1e-6, 1), (0.999999, 9)])
def test_examples_are_trained_on_or_tested_on(share, held_out):
    dataset = subsets.with_validation(numbered(10), share, seed=1)
    validation, rest = dataset.x_test[:, 0], dataset.x_train[:, 0]
    assert len(validation) == held_out
    assert sorted([*validation, *rest]) == [*range(10)]  # each once, and none of the test set


def test_the_seed_alone_decides_which():
    first, again, other = (subsets.with_validation(numbered(50), 0.5, seed).x_test for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_owners_without_examples_are_gone():
    dataset = subsets.of_training(numbered(5, [0, 1, 1, 2, 2]), np.array([0, 4]))
    assert dataset.client_train is not None
    assert dataset.client_train.tolist() == [0, 1]


def test_one_example_cannot_be_split():
    with pytest.raises(UsageError, match="needs at least 2"):
        subsets.with_validation(numbered(1), 0.5, seed=0)
