"""The twin of FLASH, original and as compared with, against the identities of its sources."""

import numpy as np
import pytest

from tests.baselines import flash_twin as flash
from tests.baselines import two_layers
from tests.baselines.twin_steps import dense, global_prune, kept, masked, masked_fedavg, sgd

MAY, STEPS = two_layers.PRUNABLE, range(4)
SIZES = [30, 20]


def test_rates():
    assert flash.prune_rate(0, 40) == 0.25
    assert flash.prune_rate(40, 40) == 0
    assert flash.prune_rate(10, 40) == pytest.approx(0.1875, rel=1e-12)
    rates = [flash.learning_rate(r) for r in (0, 500, 1000)]
    np.testing.assert_allclose(rates, [0.1, 0.01, 0.001], rtol=1e-12)


def test_shares_are_largest_remainders_within_the_room():
    assert flash.shares_exact([2.5, 1.4, 1.1], 5, [9, 9, 9]) == [3, 1, 1]
    assert flash.shares_exact([2.5, 1.4, 1.1], 5, [1, 9, 9]) == [1, 2, 2]
    assert flash.shares_exact([4.0, 1.0], 5, [2, 2]) == [2, 2]
    assert flash.shares_official([2.5, 1.4, 1.1], 5, [9, 9, 9]) == [3, 2, 2]
    assert flash.shares_official([8.0, 1.0], 9, [5, 100]) == [4, 4]  # 4.95 and 4.05, floored


@pytest.mark.parametrize("share", [flash.shares_exact, flash.shares_official])
def test_prune_and_grow(share):
    masks = flash.random_masks(two_layers.uniform(0), MAY, [0.5, 0.3])
    assert kept(masks, MAY) == [15, 6]
    params = masked(two_layers.model(), masks)
    after, moved = flash.prune_and_grow(params, masks, MAY, 0.25, two_layers.uniform(1), share)
    removed = [4, 2]  # ceil(.25 * 15), ceil(.25 * 6)
    total = sum(kept(moved, MAY))
    assert total == 21 if share is flash.shares_exact else 21 <= total <= 23
    for i, number in zip((0, 2), removed, strict=True):
        magnitudes = np.abs(params[i])[masks[i]]
        stays = np.abs(params[i]) > np.sort(magnitudes)[number - 1]
        assert (moved[i] & stays == stays).all()
        assert (after[i] == np.where(moved[i] & masks[i], params[i], 0)).all()
    assert (after[1] == params[1]).all()


def test_growth_goes_where_weights_are_large():
    params = [np.full(20, 3.0), np.full(20, 1.0)]
    masks = [np.arange(20) < 8, np.arange(20) < 8]
    scores = [np.linspace(0, 1, 20)] * 2
    _, moved = flash.prune_and_grow(masked(params, masks), masks, [True, True], 0.25, scores)
    assert kept(moved, [True, True]) == [6 + 3, 6 + 1]
    assert moved[0][-3:].all()
    assert moved[1][-1]


def test_rescaled_densities_sum_to_the_target():
    free = flash.rescale([0.2, 0.1], SIZES, 0.1)
    np.testing.assert_allclose(free, [0.125, 0.0625], rtol=1e-12)
    np.testing.assert_allclose(np.dot(free, SIZES), 5, rtol=1e-12)
    assert flash.rescale([0.9, 0.1], SIZES, 0.8)[0] == 1
    assert np.dot(flash.rescale([0.9, 0.1], SIZES, 0.8), SIZES) < 40 - 1
    refilled = flash.rescale([0.9, 0.1], SIZES, 0.8, refill=True)
    np.testing.assert_allclose(refilled, [1, 0.5], rtol=1e-12)


def test_random_masks_have_the_count_or_the_chance():
    scores = two_layers.uniform(3)
    assert kept(flash.random_masks(scores, MAY, [0.5, 0.29]), MAY) == [15, int(0.29 * 20)]
    masks = flash.random_masks(scores, MAY, [0.5, 0.29], bernoulli=True)
    np.testing.assert_array_equal(masks[0], scores[0] < 0.5)
    assert masks[1].all()


def spdst(**options):
    return flash.spdst_start(
        two_layers.grad, two_layers.model(), MAY, 0.4, [0, 3, 5],
        first=two_layers.uniform(0), growth=lambda c: [two_layers.uniform(10 * c + e) for e in range(1, 4)],
        server=two_layers.uniform(7), epochs=3, steps_per_epoch=2, lr=0.1, **options,
    )  # fmt: skip


def test_spdst_restarts_from_the_draw_under_a_mask_that_never_moves():
    start, masks = spdst()
    assert two_layers.same(start, masked(two_layers.model(), masks))
    assert 50 * 0.4 - 2 < sum(kept(masks, MAY)) <= 50 * 0.4
    params = start
    for cohort in ([0, 1], [2, 4], [1, 5]):
        params = flash.spdst_round(two_layers.grad, params, masks, cohort, STEPS, 0.1)
        assert all((w[~m] == 0).all() for w, m in zip(params, masks, strict=True))
        assert all((w[m] != 0).all() for w, m in zip(params, masks, strict=True))
    other, _ = spdst(reinit=two_layers.model(9))
    assert two_layers.same(other, masked(two_layers.model(9), masks))


def test_spdst_sensitivity_follows_the_trained_masks():
    scores = [two_layers.uniform(e) for e in range(1, 4)]
    start = flash.random_masks(two_layers.uniform(0), MAY, [0.4, 0.4])
    _, trained = flash.stage_one_client(two_layers.grad, 0, two_layers.model(), start, MAY, 3, 2, scores, 0.1)
    assert sum(kept(trained, MAY)) == sum(kept(start, MAY))
    assert not two_layers.same(trained, start)
    _, once = flash.stage_one_client(two_layers.grad, 0, two_layers.model(), start, MAY, 1, 2, scores, 0.1)
    assert two_layers.same(once, start)
    found = flash.mean_densities([trained, start], MAY)
    assert found == [np.mean([trained[i].mean(), start[i].mean()]) for i in (0, 2)]


def jmwst(r, **options):
    masks = flash.random_masks(two_layers.uniform(0), MAY, [0.4, 0.4])
    params = masked(two_layers.model(), masks)
    after = flash.jmwst_round(
        two_layers.grad, params, masks, MAY, [0, 1, 2], STEPS, lambda c: two_layers.uniform(20 + c), r,
        lr=0.1, density=0.4, **options,
    )  # fmt: skip
    return params, masks, *after


@pytest.mark.parametrize("source", ["masks", "mean"])
def test_jmwst_server_keeps_the_target_by_magnitude(source):
    _, before, mean, masks = jmwst(0, source=source)
    assert not two_layers.same(masks, before)
    assert 20 - 2 <= sum(kept(masks, MAY)) <= 20
    for w, m, may in zip(mean, masks, MAY, strict=True):
        assert not may or np.abs(w[m]).min() >= np.abs(w[~m]).max()
    assert sum(int((mean[i] != 0).sum()) for i in (0, 2)) > 20  # the mean is the union of the clients


def test_jmwst_between_updates_is_a_fixed_mask():
    params, before, mean, masks = jmwst(1, r_int=2)
    assert two_layers.same(before, masks)
    fixed = masked_fedavg(two_layers.grad, params, before, [0, 1, 2], [1, 1, 1], STEPS, 0.1)
    assert two_layers.same(mean, fixed)
    assert not two_layers.same(jmwst(1, r_int=1)[3], before)


def test_mean_over_holders():
    models = [[np.array([2.0, 4, 0])], [np.array([0.0, 1, 0])]]
    masks = [[np.array([1, 1, 0], bool)], [np.array([0, 1, 0], bool)]]
    np.testing.assert_allclose(flash.holders_mean(models, masks)[0], [2, 2.5, 0], rtol=1e-12)


def compared(rounds, fair, sparsity=0.7):
    params = two_layers.model()
    params[1], params[3] = np.zeros(5), np.zeros(4)
    history = [params]
    for r in range(rounds):
        params = flash.comparison_round(
            two_layers.grad, params, MAY, [r, r + 1], [1, 3], STEPS,
            first=r == 0, lr=0.1, sparsity=sparsity, fair=fair, weight_decay=1e-3,
        )  # fmt: skip
        history.append(params)
    return history


def test_comparison_freezes_zero_leaves_only_when_it_is_the_code():
    for params in compared(4, fair=False):
        assert (params[1] == 0).all()
        assert (params[3] == 0).all()
    for params in compared(4, fair=True)[1:]:
        assert (params[1] != 0).all()


@pytest.mark.parametrize("fair", [True, False])
def test_comparison_mask_is_set_in_round_one_and_holds(fair):
    first, *later = compared(4, fair)[1:]
    models = [
        flash.comparison_local(two_layers.grad, c, compared(0, fair)[0], MAY, STEPS, 0.1, 0.7, fair, 1e-3)
        for c in (0, 1)
    ]
    counts = [int(w.size * np.mean([(m[i] != 0).mean() for m in models])) for i, w in enumerate(first)]
    assert [int((first[i] != 0).sum()) for i in (0, 2)] == [counts[0], counts[2]]
    assert sum(int((m[i] != 0).sum()) for m in models for i in (0, 2)) == 2 * 15
    for params in later:
        assert all(((w != 0) <= (f != 0)).all() for w, f, may in zip(params, first, MAY, strict=True) if may)


def test_comparison_without_sparsity_is_fedavg():
    params = two_layers.model()
    ours = flash.comparison_round(
        two_layers.grad, params, MAY, [0, 1], [1, 3], STEPS, first=True, lr=0.1, sparsity=0.0
    )
    assert two_layers.same(
        ours, masked_fedavg(two_layers.grad, params, dense(params), [0, 1], [1, 3], STEPS, 0.1)
    )
    assert two_layers.same(global_prune(params, MAY, 0.0), params)


def test_jmwst_moves_the_mask_once_after_the_middle_step():
    masks = flash.random_masks(two_layers.uniform(0), MAY, [0.4, 0.4])
    params, scores = masked(two_layers.model(), masks), two_layers.uniform(1)
    after = flash.jmwst_client(two_layers.grad, 0, params, masks, MAY, STEPS, scores, 0.1)
    middle = sgd(two_layers.grad, 0, params, masks, range(3), 0.1)
    moved = flash.prune_and_grow(middle, masks, MAY, flash.prune_rate(3, 4), scores)
    last = sgd(two_layers.grad, 0, moved[0], moved[1], range(3, 4), 0.1)
    assert two_layers.same(after[1], moved[1])
    assert two_layers.same(after[0], last)
