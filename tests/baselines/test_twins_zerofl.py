"""The twin of ZeroFL and SWAT against the golden values and identities of their sources."""

import numpy as np
import pytest

from tests.baselines import two_layers
from tests.baselines import zerofl_twin as zerofl
from tests.baselines.twin_steps import (
    dense,
    global_prune,
    masked_fedavg,
    number_zeroed,
    pool_size,
    weighted_mean,
)

MAY, STEPS = two_layers.PRUNABLE, range(3)
X = np.array([0, 1, -3, 2, 0, -0.5, 4, 0])


@pytest.mark.parametrize(
    ("sparsity", "kept"),
    [
        (0, X), (0.3, X), (0.5, [0, 1, -3, 2, 0, 0, 4, 0]), (0.75, [0, 0, -3, 0, 0, 0, 4, 0]),
        (0.9, [0, 0, 0, 0, 0, 0, 4, 0]), (0.9999, [0, 0, 0, 0, 0, 0, 4, 0]),
    ],
)  # fmt: skip
def test_activation_pruning(sparsity, kept):
    np.testing.assert_array_equal(zerofl.at_least(X, zerofl.threshold(X, sparsity)), kept)


def test_activation_counts_and_ties():
    assert zerofl.threshold(np.arange(1.0, 101), 0.95) == 95  # k = 6: (1 - .95) * 100 exceeds 5 in float64
    ties = np.array([1.0, 1, 1, 2])
    np.testing.assert_array_equal(zerofl.at_least(ties, zerofl.threshold(ties, 0.5)), ties)


@pytest.mark.parametrize(("size", "trainable", "zeros", "logged"), [
    (11_164_352, 11_173_962, (10_047_917, 10_606_134, 11_052_708, 11_108_530, 11_153_188),
     (89.923, 94.918, 98.915, 99.414, 99.814)),
    (11_210_432, 11_220_132, (10_089_389, 10_649_910, 11_098_328, 11_154_380, 11_199_222),
     (89.922, 94.918, 98.914, 99.414, 99.814)),
])  # fmt: skip
def test_zeros_of_a_resnet(size, trainable, zeros, logged):
    found = [number_zeroed(size, s) for s in (0.9, 0.95, 0.99, 0.995, 0.999)]
    assert tuple(found) == zeros
    np.testing.assert_allclose([100 * z / trainable for z in found], logged, atol=5e-4)


def test_global_pruning_is_exact_and_takes_the_smaller_layer_first():
    rng = np.random.default_rng(0)
    params = [rng.normal(size=20), rng.normal(size=3), 100 * rng.normal(size=20)]
    pruned = global_prune(params, [True, False, True], 0.4)
    assert (pruned[0] == 0).sum() == 16
    assert (pruned[1] != 0).all()
    assert (pruned[2] != 0).all()
    again = global_prune(pruned, [True, False, True], 0.2)
    assert two_layers.same(again, pruned)


def test_learning_rates():
    found = [zerofl.learning_rate(r, 700, 0.5, 0.01) for r in (1, 100, 350, 700)]
    np.testing.assert_allclose(found, [0.497213, 0.285930, 0.070711, 0.01], atol=5e-7)
    found = [zerofl.learning_rate(r, 500, 0.5, 0.01) for r in (1, 100, 350, 500, 700)]
    np.testing.assert_allclose(found, [0.496103, 0.228653, 0.032336, 0.01, 0.002091], atol=5e-7)


def network():
    rng = np.random.default_rng(1)
    params = [rng.normal(size=s) for s in ((7, 6), (6,), (6, 5), (5,), (5, 3), (3,))]
    return params, rng.normal(size=(8, 7)), rng.integers(0, 3, 8)


def test_swat_without_sparsity_is_the_derivative():
    params, x, y = network()
    loss, gradient = zerofl.swat_gradient(params, x, y, [True] * 6, 0.0)
    for leaf, g in enumerate(gradient):
        step = np.random.default_rng(leaf).normal(size=g.shape)
        ahead, behind = (
            [*params[:leaf], params[leaf] + s * step, *params[leaf + 1 :]] for s in (1e-5, -1e-5)
        )
        losses = [zerofl.swat_gradient(p, x, y, [True] * 6, 0.0)[0] for p in (ahead, behind)]
        np.testing.assert_allclose((losses[0] - losses[1]) / 2e-5, (g * step).sum(), atol=1e-8)
    assert loss > 0


def test_swat_prunes_activations_only_where_they_meet_the_cotangent():
    params, x, y = network()
    sparse = [False, False, True, False, True, False]
    loss, plain = zerofl.swat_gradient(params, x, y, sparse, 0.0)
    same_loss, swat = zerofl.swat_gradient(params, x, y, sparse, 0.7)
    assert loss == same_loss
    for leaf in (0, 1, 3, 5):  # the dense first layer and the biases see the whole cotangent
        np.testing.assert_array_equal(swat[leaf], plain[leaf])
    hidden = np.maximum(np.maximum(x @ params[0] + params[1], 0) @ params[2] + params[3], 0)
    logits = hidden @ params[4] + params[5]
    cotangent = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[y]) / 8
    pruned = zerofl.at_least(hidden, zerofl.threshold(hidden, 0.7))
    assert (pruned != hidden).any()
    np.testing.assert_allclose(swat[4], pruned.T @ cotangent, rtol=1e-12, atol=1e-15)


def test_active_weights_are_counted_per_layer():
    active = zerofl.active(two_layers.model(), MAY, 0.9)
    assert [int((w != 0).sum()) for w in active] == [3, 5, 2, 4]
    assert int((zerofl.active([np.arange(1.0, 101)], [True], 0.95)[0] != 0).sum()) == 6


def trained(client=0):
    return zerofl.local(two_layers.grad, client, two_layers.model(), MAY, 0.9, STEPS, 0.1, 1e-3)


def test_training_keeps_dense_weights():
    after = zerofl.local(two_layers.grad, 0, two_layers.model(), MAY, 0.9, range(1), 0.1)
    active = zerofl.active(two_layers.model(), MAY, 0.9)
    gradient = two_layers.grad(0, active, 0)
    for w, before, g in zip(after, two_layers.model(), gradient, strict=True):
        np.testing.assert_allclose(w, before - 0.1 * g, rtol=1e-12)
    assert all((w != 0).all() for w in trained())


@pytest.mark.parametrize("scheme", zerofl.SCHEMES)
@pytest.mark.parametrize(("r_mask", "count"), [(0, 5), (0.1, 10), (0.2, 15), (0.9, 50)])
def test_upload_counts_and_positions(scheme, r_mask, count):
    start, after = two_layers.model(), trained()
    sent = zerofl.upload(start, after, MAY, 0.9, r_mask, scheme)
    pool = [i for i, may in enumerate(MAY) if may]
    assert sum(int((sent[i] != 0).sum()) for i in pool) == count
    change = [a - b for a, b in zip(after, start, strict=True)]
    score = change if scheme == "top_k_weights_diff" else after
    value = after if scheme == "top_k_weights" else change
    there = np.concatenate([np.abs(score[i])[sent[i] != 0] for i in pool])
    rest = np.concatenate([np.abs(score[i])[sent[i] == 0] for i in pool])
    assert not rest.size or there.min() >= rest.max()
    for i, w in enumerate(sent):
        np.testing.assert_array_equal(w[w != 0], value[i][w != 0])
    by_layer = zerofl.upload(start, after, MAY, 0.9, r_mask, scheme, "layer")
    assert [int((by_layer[i] != 0).sum()) for i in pool] == [3 * count // 5, 2 * count // 5]


def zerofl_round(scheme, r_mask, sparsity=0.9):
    return zerofl.round_of_original(
        two_layers.grad, two_layers.model(), MAY, MAY, [0, 1], [1, 3], STEPS,
        lr=0.1, sparsity=sparsity, r_mask=r_mask, scheme=scheme,
    )  # fmt: skip


def test_r_mask_of_sp_sends_all_and_weights_equal_differences():
    swat = weighted_mean(
        [zerofl.local(two_layers.grad, c, two_layers.model(), MAY, 0.9, STEPS, 0.1) for c in (0, 1)], [1, 3]
    )
    for scheme in zerofl.SCHEMES:
        for a, b in zip(zerofl_round(scheme, 0.9), swat, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_differences_leave_unsent_positions_and_weights_do_not():
    start = two_layers.model()
    sent = [
        zerofl.upload(
            start,
            zerofl.local(two_layers.grad, c, start, MAY, 0.9, STEPS, 0.1),
            MAY,
            0.9,
            0.1,
            "diff_on_top_k_weights",
        )
        for c in (0, 1)
    ]
    after, weights = zerofl_round("diff_on_top_k_weights", 0.1), zerofl_round("top_k_weights", 0.1)
    for i in (0, 2):
        silent = (sent[0][i] == 0) & (sent[1][i] == 0)
        assert silent.any()
        assert (after[i][silent] == start[i][silent]).all()
        assert (weights[i][silent] == 0).all()


@pytest.mark.parametrize("scheme", zerofl.SCHEMES)
def test_without_sparsity_the_round_is_fedavg(scheme):
    params = two_layers.model()
    plain = masked_fedavg(two_layers.grad, params, dense(params), [0, 1], [1, 3], STEPS, 0.1)
    comparison = zerofl.round_of_comparison(
        two_layers.grad, params, MAY, MAY, [0, 1], [1, 3], STEPS, lr=0.1, sparsity=0.0
    )
    for a, b, c in zip(zerofl_round(scheme, 0.0, 0.0), plain, comparison, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(c, b, rtol=1e-12, atol=1e-14)


def test_comparison_loses_weights_below_the_first_batch_threshold():
    params = two_layers.model()
    after = zerofl.local_of_comparison(two_layers.grad, 0, params, MAY, 0.9, range(2), 0.1)
    limits = [zerofl.threshold(w, 0.9) if may else 0 for w, may in zip(params, MAY, strict=True)]
    for step in range(2):
        params = [np.where(np.abs(w) >= t, w, 0) for w, t in zip(params, limits, strict=True)]
        params = [w - 0.1 * g for w, g in zip(params, two_layers.grad(0, params, step), strict=True)]
    assert two_layers.same(after, params)
    assert all((w != 0).all() for w in after)


def test_comparison_uploads_exact_global_counts_and_a_union_arrives():
    trained = [
        zerofl.local_of_comparison(two_layers.grad, c, two_layers.model(), MAY, 0.8, STEPS, 0.1)
        for c in (0, 1)
    ]
    pruned = [global_prune(w, MAY, 0.8) for w in trained]
    counts = [sum(int((w[i] != 0).sum()) for i in (0, 2)) for w in pruned]
    assert counts == [10, 10]
    mean = zerofl.round_of_comparison(
        two_layers.grad, two_layers.model(), MAY, MAY, [0, 1], [1, 3], STEPS, lr=0.1, sparsity=0.8
    )
    union = sum(int((mean[i] != 0).sum()) for i in (0, 2))
    assert max(counts) <= union <= sum(counts)
    assert pool_size(mean, MAY) == 50


def test_the_non_zero_mean_is_fedavg():
    trees = [global_prune(two_layers.model(s), MAY, 0.5) for s in (1, 2, 3)]
    assert two_layers.same(zerofl.non_zero_mean(trees, [1, 2, 5]), weighted_mean(trees, [1, 2, 5]))


@pytest.mark.parametrize(
    ("kept", "megabytes"), [(0.1, 10.1), (0.2, 18.7), (0.3, 27.3), (0.05, 5.9), (0.15, 14.4), (0.25, 23.0)]
)
def test_artefact_sizes_lie_on_the_line_of_value_and_index(kept, megabytes):
    prunable, rest = 10.75e6, 0.3875e6  # read off the slope and the intercept of the paper's six sizes
    assert zerofl.csr_bytes(kept * prunable, rest) / 1e6 == pytest.approx(megabytes, abs=0.06)


@pytest.mark.parametrize(("r_mask", "count"), [(0.0, 10), (0.2, 20)])
def test_comparison_round_is_the_mean_of_globally_pruned_models(r_mask, count):
    start = two_layers.model()
    trained = [
        zerofl.local_of_comparison(two_layers.grad, c, start, MAY, 0.8, STEPS, 0.1, 1e-3) for c in (0, 1)
    ]
    pruned = [global_prune(w, MAY, 0.8 - r_mask) for w in trained]
    assert [sum(int((w[i] != 0).sum()) for i in (0, 2)) for w in pruned] == [count, count]
    after = zerofl.round_of_comparison(
        two_layers.grad,
        start,
        MAY,
        MAY,
        [0, 1],
        [1, 3],
        STEPS,
        lr=0.1,
        sparsity=0.8,
        r_mask=r_mask,
        weight_decay=1e-3,
    )
    assert two_layers.same(after, weighted_mean(pruned, [1, 3]))
