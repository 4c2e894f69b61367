"""Complement Sparsification against its slow twin, its golden values, and its promises."""

import jax
import numpy as np
import pytest

from fedjax_sparse.config.cards.complement_sparsification import ComplementSparsification
from fedjax_sparse.costs import prices
from fedjax_sparse.errors import UsageError
from tests.baselines import complement_sparsification_twin as twin
from tests.baselines import local_training_twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import close, quadratic

SIZES = (1, 4, 5, 7)
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
D = 8
X = np.linspace(-1, 1, D)


def start(**hyper):
    setting = bench.federation(
        quadratic(13, 4, D)[1], SIZES, bench.TWO_LEAVES, batch_size=3, weighting="examples"
    )
    return bench.start("complement-sparsification", setting, X, **hyper)


def tensors(x):
    return [x[:2], x[2:]]


def test_three_rounds_agree_with_the_twin():
    _, noisy = quadratic(13, 4, D)

    def train(client, w):
        return tensors(local_training_twin.sgd(noisy, client, np.concatenate(w), steps=STEPS[client], lr=0.1))

    w = tensors(X)
    for t, (cohort, (state, metrics)) in enumerate(zip(COHORTS, start().after(COHORTS), strict=True)):
        zeros = np.count_nonzero(w[1] == 0)
        w, _ = twin.run_round(w, cohort, train, (False, True), first=t == 0, counts=SIZES)
        close(bench.flat(state.server.params), np.concatenate(w))
        assert np.count_nonzero(w[1]) == 3
        np.testing.assert_array_equal(metrics.up.values[: len(cohort)], 2 + (6 if t == 0 else zeros))


def test_golden_values():
    """Two clients, one kernel of five, round 2: clients' steps are given; d - floor(d / 2) = 3 stay."""
    w, y = np.asarray([1, -2, 0, 0, 0.5]), [[1.1, -1.9, 0.2, -0.1, 0.6], [0.9, -2, 0.4, 0.3, 0.4]]
    grad = lambda k, x, step: 10 * (w - np.asarray(y[k]))  # noqa: E731
    setting = bench.federation(grad, (1, 1), {"w": (5, 1)})
    made = bench.start("complement-sparsification", setting, w)
    state, metrics = made.step(made.state, [0, 1], 2)
    close(bench.flat(state.server.params), w)
    np.testing.assert_array_equal(metrics.up.values, 2)
    loose = bench.start("complement-sparsification", setting, w, sparsity=0.1)
    state, _ = loose.step(loose.state, [0, 1], 2)
    close(bench.flat(state.server.params), (1, -2, 0.45, 0.15, 0.5))


def test_costs_are_the_complement_up_and_the_living_down():
    """Round 1 is dense; then three of six living weights come down with positions, and the other three go up."""
    first, second, _ = (metrics for _, metrics in start().after(COHORTS))
    for message in (first.up, first.down):
        assert prices.message_bytes(message, "values+indices", 4) == 3 * D * 4
    assert prices.message_bytes(second.down, "values+indices", 4) == 2 * ((2 + 3) * 4 + 3 * 4)
    assert prices.message_bytes(second.up, "values+indices", 4) == 2 * (2 + 3) * 4


def test_nobody_comes_and_nothing_moves():
    made = start()
    state, _ = made.step(made.state, [0, 1], 1)
    again, _ = made.step(state, [], 2)
    jax.tree.map(np.testing.assert_array_equal, again.server, state.server)
    pruned, _ = made.step(made.state, [], 1)
    close(bench.flat(pruned.server.params), np.where(np.isin(np.arange(D), [3, 4, 5]), 0, X))


def test_no_sparsity_is_refused():
    with pytest.raises(UsageError, match=r"--sparsity = 0.0 is out of range; allowed: \(0, 1\)"):
        ComplementSparsification(sparsity=0.0)
