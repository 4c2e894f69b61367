"""Test images of each client: rows of one test set, drawn in the client's own mix of classes."""

import numpy as np

from fedjax_sparse.data.dealing import one_class_each
from fedjax_sparse.errors import UsageError, check_range

SIZE = 100  # test images of a client where it deploys a model of its own and the run asks for no other number


def rows(labels: np.ndarray, holdings: np.ndarray, size: int, seed: int) -> np.ndarray:
    """The test examples of each client.

    A client that holds the share r of a class among its training examples gets ceil(r * size) test images of that
    class, or all where there are fewer, at random without replacement; different clients may get the same ones.

    Args:
        labels: int[M], classes of the test set.
        holdings: int[N, K], training examples of each class that each client holds.
        size: Test images of a client, as far as roundings upwards allow; from 1 to M.
        seed: Of the draws.

    Returns:
        i32[N, S], rows of the test set, with -1 behind the last of a client that has fewer than others. A client of
        whose classes there are no test images has none.

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
    drawn = [
        np.concatenate(
            [
                rng.choice(those, min(number, len(those)), replace=False)
                for those, number in zip(of_class, client, strict=True)
            ]
        )
        for client in wanted
    ]
    found = np.full((len(drawn), max(len(own) for own in drawn)), -1, np.int32)
    for row, own in zip(found, drawn, strict=True):
        row[: len(own)] = own
    return found


def automatic_rows(labels: np.ndarray, holdings: np.ndarray, seed: int) -> np.ndarray:
    """`SIZE` test examples of each client, or all that there are; where examples have no classes, of any kind.

    Args:
        labels: [M, ...], targets of the test set.
        holdings: int[N, K] as in `rows`, or int[N], how many training examples each client holds.
        seed: Of the draws.
    """
    if not one_class_each(labels):
        labels, holdings = np.zeros(len(labels), np.int32), np.ones((len(holdings), 1), np.int64)
    return rows(labels, holdings, min(SIZE, len(labels)), seed)
