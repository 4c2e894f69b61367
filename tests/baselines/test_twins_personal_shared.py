"""What the twins of the personalised baselines share, held to values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.baselines import personal_twin as twin


def test_a_gradient_of_norm_twenty_is_cut_to_ten_and_one_of_five_is_not():
    assert np.allclose(twin.clipped([np.array([12.0]), np.array([16.0])], 10)[1], 8, rtol=0, atol=1e-12)
    assert twin.clipped([np.array([3.0, 4.0])], 10)[0].tolist() == [3, 4]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clip", [np.inf, 1.0])
def test_the_mask_after_the_step_is_that_of_the_gradient_only_without_clipping(momentum: float, clip: float):
    generator = np.random.default_rng(0)
    mask = [np.array([True, False, True, False, True])]
    start = twin.masked([generator.normal(size=5)], mask)
    grad = twin.quadratics(generator.uniform(0.5, 2, (1, 5)), generator.normal(size=(1, 5)) * 5)

    def gradient(params: twin.Params, step: int) -> twin.Params:
        return grad(0, params, step)

    after = twin.sgd(
        gradient,
        start,
        range(20),
        0.05,
        after=lambda params: twin.masked(params, mask),
        momentum=momentum,
        clip=clip,
    )
    before = twin.sgd(
        gradient,
        start,
        range(20),
        0.05,
        before=lambda gradients, params: twin.masked(gradients, mask),
        momentum=momentum,
        clip=clip,
    )
    difference = np.abs(after[0] - before[0]).max()
    assert difference < 1e-12 if clip == np.inf else difference > 1e-3
    assert not after[0][~mask[0]].any()
    assert not before[0][~mask[0]].any()


def test_momentum_decay_and_clip_come_in_that_order_of_pytorch():
    # Gradient 20 is clipped to 10; decay 0.5 * 2 comes after: 11. Then 10 + 0.5 * 0.9 + 0.5 * 11 = 15.95.
    params = twin.sgd(
        lambda params, step: [np.array([20.0])],
        [np.array([2.0])],
        range(2),
        0.1,
        momentum=0.5,
        decay=0.5,
        clip=10,
    )
    assert params[0] == pytest.approx(2 - 1.1 - 1.595, abs=1e-12)


def test_the_number_that_changes_is_not_pushed_up_by_rounding():
    assert twin.cosine(0.5, 2, 3) * 8 > 1
    assert twin.changed(twin.cosine(0.5, 2, 3), np.ones(8, bool)) == 1
    assert twin.changed(0.26, np.ones(8, bool)) == 3
    assert twin.changed(0.0, np.ones(8, bool)) == 0


def test_the_percentile_interpolates_and_takes_what_is_strictly_below():
    w = np.array([0.5, -0.1, 0.3, -0.7, 0.2])
    assert np.percentile(np.abs(w), 20) == pytest.approx(0.18, abs=1e-12)
    assert twin.below_percentile(w, np.ones(5, bool), 20).tolist() == [True, False, True, True, True]
    assert twin.below_percentile(w, np.ones(5, bool), 0).all()
    assert not twin.below_percentile(w, np.zeros(5, bool), 20).any()


@pytest.mark.parametrize(("percent", "size"), [(5, 2), (5, 5), (5, 40), (5, 41), (20, 5), (10, 100)])
def test_one_prune_takes_the_ceiling_of_percent_of_all_but_one(percent: float, size: int):
    """So at most the percentage of the alive entries, and one more: 1 of 2 at 5 %."""
    mask = np.ones(size, bool)
    new = twin.below_percentile(np.random.default_rng(0).permutation(size) + 1.0, mask, percent)
    lost = size - int(new.sum())
    assert lost == int(np.ceil(round((size - 1) * percent / 100, 9)))
    assert lost < size * percent / 100 + 1


def test_the_mean_of_holders_is_plain_under_equal_masks_and_keeps_what_nobody_holds():
    models = [[np.array([1.0, 0, 5])], [np.array([3.0, 0, 0])]]
    masks = [[np.array([True, False, True])], [np.array([True, False, False])]]
    assert twin.mean_of_holders(models, masks, [np.array([9.0, 7, 9])])[0].tolist() == [2, 7, 5]
    assert twin.mean([[np.array([2.0])], [np.array([5.0])]], [1, 3])[0].tolist() == [4.25]
