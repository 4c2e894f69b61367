"""Parts of a data set: some of its training examples, and a validation set that is held out of them."""

import dataclasses

import numpy as np

from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.errors import UsageError


def of_training(dataset: Dataset, rows: np.ndarray | slice) -> Dataset:
    """The data set with these training examples alone; owners without any are no clients, and the others renumbered."""
    owners = dataset.client_train
    if owners is not None:
        owners = np.unique(owners[rows], return_inverse=True)[1].astype(np.int32)
    x, y = dataset.x_train[rows], dataset.y_train[rows]
    return dataclasses.replace(dataset, x_train=x, y_train=y, client_train=owners)


def with_validation(dataset: Dataset, share: float, seed: int) -> Dataset:
    """The data set whose test set is held out of its training examples; its own test set is gone.

    Validation examples are drawn from all training examples together, before these are dealt to clients: they are
    spread as the test set is, every partition can deal what is left, and a client's own tests are drawn from them as
    they are from a test set. Which they are depends on the seed alone.

    Args:
        dataset: M training examples.
        share: Of them, in (0, 1); at least one is held out, and at least one is left.
        seed: Of the draw.

    Raises:
        UsageError: There is only one training example.
    """
    count = len(dataset.x_train)
    if count < 2:
        raise UsageError(f"{dataset.name} has {count} training example; a validation set needs at least 2")
    held_out = min(max(round(share * count), 1), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    validation, rest = np.sort(order[:held_out]), np.sort(order[held_out:])
    x, y = dataset.x_train[validation], dataset.y_train[validation]
    return dataclasses.replace(of_training(dataset, rest), x_test=x, y_test=y)
