"""The twin of Complement Sparsification against the golden values and what follows from its definition."""

import numpy as np
import pytest

from tests.baselines import complement_sparsification_twin as twin
from tests.baselines.quadratics import close

W = [np.asarray([1, -2, 0, 0, 0.5])]
Y = {0: [np.asarray([1.1, -1.9, 0.2, -0.1, 0.6])], 1: [np.asarray([0.9, -2, 0.4, 0.3, 0.4])]}


def test_complement_golden():
    train = lambda k, w: Y[k]  # noqa: E731
    after, sent = twin.run_round(W, (0, 1), train, [True], first=False, keep=lambda size: size)
    close(sent[0][0], (0, 0, 0.2, -0.1, 0))
    close(sent[1][0], (0, 0, 0.4, 0.3, 0))
    close(after[0], (1, -2, 0.45, 0.15, 0.5))
    pruned, _ = twin.run_round(W, (0, 1), train, [True], first=False, keep=lambda size: 3)
    close(pruned[0], W[0])
    default, _ = twin.run_round(W, (0, 1), train, [True], first=False)
    close(default[0], W[0])
    assert twin.nonzero(sent[0]) == 2
    assert twin.nonzero(after) == 5


def test_complement_first_round_is_a_weighted_mean_then_pruned():
    first, sent = twin.run_round(W, (0, 1), lambda k, w: Y[k], [True], first=True, counts=(1, 3))
    close(sent[0][0], Y[0][0])
    mean = 0.25 * Y[0][0] + 0.75 * Y[1][0]
    close(first[0], mean * [1, 1, 0, 0, 1])


def test_complement_sends_biases_dense_and_averages_them():
    w = [*W, np.asarray([0.0, 5.0])]
    y = {k: [*Y[k], np.asarray([1.0, 2.0]) * (k + 1)] for k in Y}
    after, sent = twin.run_round(w, (0, 1), lambda k, _: y[k], [True, False], first=False)
    close(sent[0][1], (1, 2))
    close(after[1], (1.5, 3))


def test_complement_keeps_its_sparsity_and_survivors_are_only_displaced():
    rng = np.random.default_rng(0)
    w = [rng.normal(size=(4, 5))]
    moved = 0
    for t in range(6):
        train = lambda k, w: [w[0] + 0.5 * rng.normal(size=(4, 5))]  # noqa: E731
        before = w
        w, _ = twin.run_round(w, (0, 1, 2), train, [True], first=t == 0)
        assert twin.nonzero(w) == 10
        if t > 0:
            stayed = (before[0] != 0) & (w[0] != 0)
            np.testing.assert_array_equal(w[0][stayed], before[0][stayed])
            moved += int(np.sum((before[0] == 0) & (w[0] != 0)))
    assert moved > 0


def test_complement_mask_may_come_from_a_tuned_model_with_values_of_the_aggregate():
    scores = [np.asarray([0, 1, 2, 3, 0.0])]
    after, _ = twin.run_round(W, (0, 1), lambda k, w: Y[k], [True], first=False, tune=lambda w: scores)
    close(after[0], (0, -2, 0.45, 0.15, 0))


def test_complement_official_code_takes_an_exact_zero_for_pruned():
    assert twin.is_pruned(W)
    assert not twin.is_pruned([np.ones(3), np.zeros(2)])


@pytest.mark.parametrize(("size", "kept"), [(4, 2), (5, 3), (1, 1)])
def test_half_of_odd_kernels(size, kept):
    assert twin.half(size) == kept
