"""The twin of FedDST against the golden values of its sources."""

import numpy as np
import pytest

from tests.baselines import feddst_twin as feddst
from tests.baselines import two_layers
from tests.baselines.twin_steps import kept

W = np.array([[0.5, -0.1, 0, 0.3, -0.7], [0, 0.2, -0.05, 0, 0.9]])
M = W != 0
G = np.array([[0.1, 0.9, 0.4, 0.2, 0.3], [0.8, 0.05, 0.6, 0.7, 1.2]])
MAY = two_layers.PRUNABLE
STEPS = range(3)


def test_growth_without_exclusion_resets_a_kept_weight_in_feddst():
    stays, kept_mask = feddst.prune([W], [M], [True], [4])
    params, masks = feddst.grow(stays, kept_mask, [M], [G], [True], [7])
    np.testing.assert_array_equal(masks[0], np.array([[1, 1, 0, 1, 1], [1, 0, 0, 0, 1]], bool))
    assert params[0][1, 4] == params[0][0, 1] == 0
    assert W[1, 4] == 0.9


ERK_SHAPES = [(5, 5, 3, 6), (5, 5, 6, 16), (6400, 120), (120, 10)]
CIFAR10_NET = [(5, 5, 3, 6), (5, 5, 6, 16), (6400, 120), (120, 84), (84, 10)]


def test_feddst_erk():
    biases = [6, 16, 120, 10]
    raw = [feddst.raw_sparsity(s) for s in ERK_SHAPES]
    np.testing.assert_allclose(raw, [0.957778, 0.986667, 0.991510, 0.891667], atol=5e-7)
    scaled = feddst.layer_sparsities(ERK_SHAPES, biases, 0.8)
    np.testing.assert_allclose(scaled, [0.772932, 0.796246, 0.800155, 0.719580], atol=5e-7)
    assert feddst.keep_counts(ERK_SHAPES, biases, 0.8) == [103, 492, 153505, 339]


def test_feddst_counts_of_its_cifar_net():
    counts = feddst.keep_counts(CIFAR10_NET, [6, 16, 120, 84, 10], 0.8)
    sizes = [450, 2400, 768000, 10080, 840]
    pruned = [n - k for n, k in zip(sizes, counts, strict=True)]
    assert pruned == [347, 1908, 614562, 7954, 600]
    assert sum(pruned) / sum(sizes) == pytest.approx(0.799942, abs=5e-7)


def test_feddst_ratio():
    assert feddst.ratio(0, 0.01, 200) == pytest.approx(1e-4, rel=1e-12)
    assert feddst.ratio(0, 0.5, 200) == pytest.approx(0.25, rel=1e-12)
    assert feddst.ratio(0, 0.01, 200, squared=False) == 0.01
    assert feddst.ratio(0, 0.5, 200, squared=False) == 0.5
    assert feddst.ratio(200, 0.5, 200) == 0
    assert [r for r in range(40) if feddst.is_adjustment(r, 15, 0.1)] == [1, 16, 31]


def feddst_round(r=1, mode="not_kept", initial_ratio=0.5, decayed=False):
    params = two_layers.model()
    counts = feddst.keep_counts([(6, 5), (5, 4)], [5, 4], 0.6)
    params, masks = feddst.start(params, MAY, counts)
    assert kept(masks, MAY) == counts
    after = feddst.federated_round(
        two_layers.grad, params, masks, MAY, [0, 1, 1], [1, 2, 2], STEPS, r,
        biases=[5, 4], sparsity=0.6, initial_ratio=initial_ratio, every=15, end=200, lr=0.1, mode=mode, decayed=decayed,
    )  # fmt: skip
    return params, masks, *after, counts


@pytest.mark.parametrize("mode", ["not_kept", "not_active"])
def test_feddst_round_restores_the_layer_counts(mode):
    _, before, params, masks, counts = feddst_round(mode=mode)
    assert kept(masks, MAY) == counts
    assert all((w[~m] == 0).all() for w, m in zip(params, masks, strict=True))
    assert not two_layers.same(masks, before)


def test_feddst_client_prunes_then_grows_back_with_zeros():
    params, masks, *_, counts = feddst_round()
    fewer = [k - 2 for k in counts]
    trained, after = feddst.client(
        two_layers.grad, 0, params, masks, MAY, STEPS,
        lr=0.1, momentum=0.9, weight_decay=1e-3, counts=(fewer, counts), mode="not_active",
    )  # fmt: skip
    assert kept(after, MAY) == counts
    for w, old, new in zip(trained, masks, after, strict=True):
        assert (w[new & ~old] == 0).all()
    assert sum(int((new & ~old).sum()) for old, new in zip(masks, after, strict=True)) == 4


def test_feddst_growth_anywhere_loses_weights():
    _, _, _, masks, counts = feddst_round(mode="any")
    assert sum(kept(masks, MAY)) <= sum(counts)


def test_feddst_round_without_adjustment_keeps_the_mask_and_the_decayed_ratio_prunes_less():
    _, before, params, masks, _ = feddst_round(r=2)
    assert two_layers.same(before, masks)
    assert all((w[~m] == 0).all() for w, m in zip(params, masks, strict=True))
    assert not two_layers.same(feddst_round(decayed=True)[3], feddst_round()[3])


def test_feddst_mean_is_over_the_holders():
    models = [[np.array([2.0, 4, 0, 5])], [np.array([0.0, 1, 0, 0])]]
    masks = [[np.array([1, 1, 0, 1], bool)], [np.array([0, 1, 0, 0], bool)]]
    params, union = feddst.aggregate(models, masks, [1, 2], [True])
    np.testing.assert_allclose(params[0], [2, (4 + 2) / 3, 0, 5], rtol=1e-12)
    np.testing.assert_array_equal(union[0], [True, True, False, True])
    params, union = feddst.aggregate(models, masks, [1, 2], [True], min_votes=1)
    np.testing.assert_array_equal(union[0], [False, True, False, False])
    np.testing.assert_allclose(feddst.aggregate(models, masks, [1, 2], [False])[0][0], [2 / 3, 2, 0, 5 / 3])


def test_feddst_server_prunes_only_what_is_denser_than_the_target():
    models, masks = [[np.array([2.0, 4, 0, 5])]], [[np.array([1, 1, 0, 1], bool)]]
    assert kept(feddst.server(models, masks, [1], [True], 0.5, [2])[1], [True]) == [2]
    assert kept(feddst.server(models, masks, [1], [True], 0.25, [1])[1], [True]) == [3]
    assert kept(feddst.prune([np.arange(4.0)], [np.ones(4, bool)], [True], [0])[1], [True]) == [4]
    assert feddst.bits(10, 40, 3, True) == 13 * 32 + 40
    assert feddst.bits(10, 40, 3, False) == 13 * 32


def test_feddst_client_step_by_step():
    params, masks, *_, counts = feddst_round()
    fewer = [k - 6 for k in counts]
    trained, after = feddst.client(
        two_layers.grad, 0, params, masks, MAY, STEPS,
        lr=0.9, momentum=0.9, weight_decay=0.01, counts=(fewer, counts), mode="not_kept",
    )  # fmt: skip
    model, speed = params, [0.0] * 4
    for step in STEPS:
        g = two_layers.grad(0, model, step)
        speed = [0.9 * v + k + 0.01 * w for v, k, w in zip(speed, g, model, strict=True)]
        model = [np.where(m, w - 0.9 * v, 0) for w, v, m in zip(model, speed, masks, strict=True)]
    score = [np.abs(k) for k in two_layers.grad(0, model, STEPS[-1])]
    for i, few, many in ((0, fewer[0], counts[0]), (2, fewer[1], counts[1])):
        magnitudes = np.where(masks[i], np.abs(model[i]), -1).ravel()
        stays = set(np.argsort(-magnitudes)[:few])
        ranked = [j for j in np.argsort(-score[i].ravel()) if j not in stays]
        assert set(np.flatnonzero(after[i])) == stays | set(ranked[: many - few])
        np.testing.assert_allclose(trained[i].ravel()[list(stays)], model[i].ravel()[list(stays)], rtol=1e-12)
    np.testing.assert_allclose(trained[1], model[1], rtol=1e-12)
