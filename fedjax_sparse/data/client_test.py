"""Test images of each client, and what they make of one test set: how much each of its examples counts.

Clients test on images of their own, drawn from the test set in their own mix of classes. Where all of them test the
same model, the mean of their accuracies is a weighted accuracy over the test set, so a model is evaluated once.
"""

import numpy as np

from fedjax_sparse.data.partition import one_class_each
from fedjax_sparse.errors import UsageError, check_range


def shares(labels: np.ndarray, holdings: np.ndarray, size: int, seed: int) -> np.ndarray:
    """The weight of each test example in the mean over clients of the accuracy on their own test images.

    A client that holds the share r of a class among its training examples gets ceil(r * size) test images of that
    class, or all where there are fewer, at random without replacement; different clients may get the same ones.

    Args:
        labels: int[M], classes of the test set.
        holdings: int[N, K], training examples of each class that each client holds.
        size: Test images of a client, as far as roundings upwards allow; from 1 to M.
        seed: Of the draws.

    Returns:
        f32[M], summing to 1. Clients of whose classes there are no test images do not count.

    Raises:
        UsageError: Labels that are not one class for each example, or a size out of range.

    References:
        The Dirichlet split of SalientGrads' official code (arXiv 2304.07488), after DisPFL's.
    """
    if not one_class_each(labels):
        raise UsageError(
            f"--client-test-size = {size} needs one class for each example, and these targets are "
            f"{labels.dtype}{list(labels.shape)}; allowed: no --client-test-size"
        )
    check_range("--client-test-size", size, 1, len(labels))
    rng = np.random.default_rng(seed)
    of_class = [np.flatnonzero(labels == each) for each in range(holdings.shape[1])]
    wanted = -(-size * holdings.astype(np.int64) // holdings.sum(axis=1, keepdims=True))
    total, testing = np.zeros(len(labels)), 0
    for client in wanted:
        drawn = [
            rng.choice(rows, min(number, len(rows)), replace=False)
            for rows, number in zip(of_class, client, strict=True)
        ]
        rows = np.concatenate(drawn)
        if len(rows):
            total[rows] += 1 / len(rows)
            testing += 1
    return (total / max(testing, 1)).astype(np.float32)
