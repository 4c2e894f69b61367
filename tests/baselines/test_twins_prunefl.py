"""The twin of PruneFL against brute force and the identities of its sources."""

from itertools import combinations

import numpy as np
import pytest

from tests.baselines import prunefl_twin as prunefl
from tests.baselines import two_layers
from tests.baselines.twin_steps import dense, kept, masked, masked_fedavg

MAY, STEPS = two_layers.PRUNABLE, range(3)
TIMES, CONSTANT = [1.0, 0.0, 2.0, 0.0], 3.0


def zeros():
    return [np.zeros(shape) for shape in two_layers.SHAPES]


def test_rates():
    assert prunefl.rate(0) == 0.3
    assert prunefl.rate(10000) == pytest.approx(0.15, rel=1e-12)
    assert prunefl.rate(5000) == pytest.approx(0.3 / np.sqrt(2), rel=1e-12)


def test_a_candidate_raises_the_objective_iff_its_ratio_exceeds_it():
    gain, time = 6.0, 4.0
    for g, t in ((1.6, 1.0), (1.4, 1.0), (3.5, 2.0), (2.5, 2.0)):
        assert bool(prunefl.greedy([g], [t], gain, time)) == (g / t > gain / time)
        assert (g / t > gain / time) == ((gain + g) / (time + t) > gain / time)
    assert prunefl.greedy([1.5], [1.0], gain, time) == []


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("equal", [True, False])
def test_greedy_is_the_best_of_all_subsets(seed, equal):
    rng = np.random.default_rng(seed)
    gains, times = rng.exponential(size=10), np.ones(10) if equal else rng.uniform(0.2, 2, 10)
    found = prunefl.greedy(list(gains), list(times), 0.3, 1.0)
    subsets = (list(s) for n in range(11) for s in combinations(range(10), n))
    best = max(subsets, key=lambda s: (0.3 + gains[s].sum()) / (1 + times[s].sum()))
    assert sorted(found) == best
    if equal:
        limit = (0.3 + gains[found].sum()) / (1 + len(found))
        assert sorted(found) == list(np.flatnonzero(gains > limit))


def test_reconfiguration_by_hand():
    weight, mask = [np.array([0.5, 0.1, -0.3, 0.2, 0, 0])], [np.array([1, 1, 1, 1, 0, 0], bool)]
    squared = [np.array([4, 1, 2, 6, 8, 0.5])]
    np.testing.assert_array_equal(prunefl.stays(weight[0], mask[0], 0.5), [1, 0, 1, 0, 0, 0])
    # 6/4; the inactive weight with 8 enters: 14/5; that with 6 stays after all: 20/6 > 1.
    after = prunefl.reconfigure(weight, mask, [True], squared, [1.0], 2.0, 0.5)
    np.testing.assert_array_equal(after[0], [1, 0, 1, 1, 1, 0])
    capped = prunefl.reconfigure(weight, mask, [True], squared, [1.0], 2.0, 0.5, max_density=0.5)
    np.testing.assert_array_equal(capped[0], [1, 0, 1, 0, 1, 0])
    slow = prunefl.reconfigure(weight, mask, [True], squared, [1.0], 100.0, 0.5)
    np.testing.assert_array_equal(
        slow[0], [1, 1, 1, 1, 1, 1]
    )  # a round that costs much anyway: keep everything


def test_rate_zero_keeps_all_active_and_dense_leaves_count_in_the_objective():
    weight, mask = [np.array([0.5, 0.1, 0])], [np.array([1, 1, 0], bool)]
    assert prunefl.stays(weight[0], mask[0], 0.0).sum() == 2
    params, masks = [*weight, np.ones(1)], [*mask, np.ones(1, bool)]
    squared = [np.array([1.0, 1, 3]), np.array([0.0])]
    entered = prunefl.reconfigure(params, masks, [True, False], squared, [1.0, 9.0], 1.0, 0.0)
    assert entered[0].all()
    squared[1] = np.array([50.0])
    entered = prunefl.reconfigure(params, masks, [True, False], squared, [1.0, 9.0], 1.0, 0.0)
    assert not entered[0][2]


def federated(server, reconfigures, constant=CONSTANT, **options):
    return prunefl.federated_round(
        two_layers.grad, server, MAY, [0, 1], [1, 3], STEPS, 0,
        lr=0.1, times=TIMES, constant=constant, reconfigures=reconfigures, **options,
    )  # fmt: skip


def test_rounds_without_reconfiguration_are_masked_fedavg():
    params, masks = two_layers.start(0.4)
    server = prunefl.Server(params, masks, zeros())
    after = federated(server, False)
    fixed = masked_fedavg(two_layers.grad, params, masks, [0, 1], [1, 3], STEPS, 0.1)
    for a, b in zip(after.params, fixed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    whole = federated(prunefl.Server(two_layers.model(), dense(params), zeros()), False)
    plain = masked_fedavg(two_layers.grad, two_layers.model(), dense(params), [0, 1], [1, 3], STEPS, 0.1)
    for a, b in zip(whole.params, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_the_statistic_squares_the_sum_of_a_rounds_gradients():
    params, masks = two_layers.start(0.4)
    expected = zeros()
    for client, n in ((0, 1), (1, 3)):
        model, total = params, zeros()
        for step in STEPS:
            g = two_layers.grad(client, model, step)
            total = [t + k for t, k in zip(total, g, strict=True)]
            model = masked([w - 0.1 * k for w, k in zip(model, g, strict=True)], masks)
        expected = [e + n * t**2 for e, t in zip(expected, total, strict=True)]
    after = federated(prunefl.Server(params, masks, zeros()), False)
    for a, b in zip(after.squared, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    assert all((a > 0).all() for a in after.squared)  # also where weights are inactive
    again = federated(after, False)
    assert all((a > b).all() for a, b in zip(again.squared, after.squared, strict=True))
    assert all((s == 0).all() for s in federated(after, True).squared)


def test_weights_that_enter_again_have_their_last_value_or_zero():
    params, masks = two_layers.model(), two_layers.start(0.4)[1]
    for remember in (True, False):
        after = federated(prunefl.Server(params, masks, zeros()), True, constant=150.0, remember=remember)
        entered = [n & ~m for n, m in zip(after.masks, masks, strict=True)]
        assert any(e.any() for e in entered)
        for w, old, e in zip(after.params, params, entered, strict=True):
            assert (w[e] == (old[e] if remember else 0)).all()
        gone = [m & ~n for n, m in zip(after.masks, masks, strict=True)]
        assert any(g.any() for g in gone)


def test_the_density_cap_holds():
    params, masks = two_layers.start(0.4)
    server = prunefl.Server(params, masks, zeros())
    free, capped = (federated(server, True, 150.0, max_density=d) for d in (None, 0.44))
    assert sum(kept(free.masks, MAY)) > 22
    assert sum(kept(capped.masks, MAY)) == 22


def test_settled():
    assert not prunefl.settled([0.5] * 5)
    assert prunefl.settled([0.5] * 6)
    assert not prunefl.settled([0.5, 0.5, 0.5, 0.5, 0.44, 0.44])
    assert prunefl.settled([1.0, 0.5, 0.5, 0.5, 0.54, 0.54, 0.5])


def test_the_first_stage_waits_for_accuracy_and_ends_when_the_density_settles():
    params = two_layers.model()
    calls = []

    def accuracy(_):
        calls.append(0)
        return 0.15 if len(calls) == 4 else 0.1

    model, masks, rounds = prunefl.first_stage(
        two_layers.grad, 0, params, dense(params), MAY, accuracy, TIMES, CONSTANT,
        batches=2, classes=10, lr=0.05, every=3,
    )  # fmt: skip
    assert len(calls) == 4
    assert rounds >= 4 + 5 * 3
    assert (rounds - 4) % 3 == 0
    assert sum(kept(masks, MAY)) < 50
    assert all((w[~m] == 0).all() for w, m in zip(model, masks, strict=True))
    never = prunefl.first_stage(
        two_layers.grad, 0, params, dense(params), MAY, lambda _: 0.0, TIMES, CONSTANT,
        batches=2, classes=10, lr=0.05, every=3, max_rounds=7,
    )  # fmt: skip
    assert never[2] == 7
    assert all(m.all() for m in never[1])


def test_the_first_stage_sums_squares_of_single_batches():
    gradient = lambda client, params, batch: [np.array([0.0, 3, 1, 0]) * (-1) ** batch]  # noqa: E731
    weight, mask = [np.array([1.0, 0, 0, 2])], [np.array([1, 0, 0, 1], bool)]
    # Sums of squares 0, 18, 2, 0, while the gradients cancel: 18 / 3 enters, 2 does not beat 18 / 4.
    _, masks, _ = prunefl.first_stage(
        gradient,
        0,
        weight,
        mask,
        [True],
        lambda _: 1.0,
        [1.0],
        1.0,
        batches=2,
        classes=10,
        lr=0.1,
        max_rounds=1,
        rho=0,
    )
    np.testing.assert_array_equal(masks[0], [1, 1, 0, 1])
