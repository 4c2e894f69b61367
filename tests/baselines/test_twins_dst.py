"""The twin of RigL and SET, alone and at the clients, against the golden values of its sources."""

import numpy as np
import pytest

from tests.baselines import dst_twin as dst
from tests.baselines import two_layers
from tests.baselines.twin_steps import cosine, dense, kept, masked_fedavg, sgd

W = np.array([[0.5, -0.1, 0, 0.3, -0.7], [0, 0.2, -0.05, 0, 0.9]])
M = W != 0
G = np.array([[0.1, 0.9, 0.4, 0.2, 0.3], [0.8, 0.05, 0.6, 0.7, 1.2]])
MAY = two_layers.PRUNABLE
STEPS = range(3)


def magnitudes(client, params):
    return [np.abs(g) for g in two_layers.probe(client, params)]


@pytest.mark.parametrize(
    ("mode", "mask", "new"),
    [
        ("not_kept", [[1, 1, 0, 1, 1], [1, 0, 0, 1, 1]], [(1, 0), (1, 3)]),
        ("not_active", [[1, 0, 1, 1, 1], [1, 0, 0, 1, 1]], [(0, 2), (1, 0), (1, 3)]),
        ("any", [[1, 1, 0, 1, 1], [1, 0, 0, 0, 1]], [(1, 0)]),
    ],
)
def test_golden_move(mode, mask, new):
    k = dst.count(int(M.sum()), 0.45)
    assert k == 3
    after, grown = dst.move(W, M, G, k, mode)
    np.testing.assert_array_equal(after, np.array(mask, bool))
    assert [tuple(i) for i in np.argwhere(grown)] == new
    weight, buffer, _ = dst.rigl_step(W, np.full_like(W, 2.0), M, G, 0.45, mode)
    assert all(weight[i] == buffer[i] == 0 for i in new)
    assert (buffer == np.where(after & M, 2.0, 0)).all()
    assert (weight == np.where(after & M, W, 0)).all()
    if mode == "not_kept":
        assert weight[0, 1] == -0.1


def test_golden_move_of_two():
    assert dst.count(7, 0.3) == 2
    after, _ = dst.move(W, M, G, 2)
    np.testing.assert_array_equal(after, np.array([[1, 1, 0, 1, 1], [1, 1, 0, 0, 1]], bool))


def test_cosines():
    found = [dst.cosine_frac(t, 0.3, 0, 100) for t in (0, 10, 25, 50, 75, 90, 100)]
    expected = [0.3, 0.29265848, 0.25606602, 0.15, 0.04393398, 0.00734152, 0]
    np.testing.assert_allclose(found, expected, atol=5e-9)
    assert dst.cosine_frac(400, 0.3, 0, 100) == pytest.approx(0, abs=1e-12)
    found = [cosine(t, 0.2, 300) for t in (0, 10, 100, 150, 290, 300, 400)]
    np.testing.assert_allclose(found, [0.2, 0.19945219, 0.15, 0.1, 0.00054781, 0, 0.05], atol=5e-9)


def layer_gradient(weight, t):
    return np.random.default_rng(t).normal(size=weight.shape) + 0.5 * weight


@pytest.mark.parametrize("uniform", [None, lambda t: np.random.default_rng(100 + t).uniform(size=W.shape)])
@pytest.mark.parametrize("mode", ["not_kept", "not_active"])
def test_training_on_one_machine_keeps_the_count(uniform, mode):
    options = {
        "lr": 0.1,
        "momentum": 0.9,
        "frac0": 0.3,
        "begin": 0,
        "end": 8,
        "uniform": uniform,
        "mode": mode,
    }
    weight, mask = dst.train(layer_gradient, W, M, 9, every=2, **options)
    assert mask.sum() == M.sum()
    assert (mask != M).any()
    assert (weight[~mask] == 0).all()
    assert (dst.train(layer_gradient, W, M, 9, every=100, **options)[1] == M).all()


def test_rigl_skips_the_gradient_step_when_the_mask_moves_and_set_does_not():
    options = {"lr": 0.1, "momentum": 0.0, "frac0": 0.3, "every": 1, "begin": 0, "end": 9}
    rigl, mask = dst.train(layer_gradient, W, M, 1, **options)
    assert (rigl[mask & M] == W[mask & M]).all()
    weight, mask = dst.train(layer_gradient, W, M, 1, uniform=lambda t: G, **options)
    assert (weight[mask & M] != W[mask & M]).any()


def test_adjustment_rounds():
    assert [t for t in range(50) if dst.adjust_round(t, 10, 30)] == [10, 20, 30]


def client_side(
    t=10, alpha=0.5, before=1, mode="not_kept", params=None, masks=None, densities=None, scores=magnitudes
):
    model, static = two_layers.start(0.4)
    params, masks = params or model, masks or static
    return dst.federated_round(
        two_layers.grad, scores, params, masks, MAY, [0, 1], [1, 2], STEPS, t,
        lr=0.1, alpha=alpha, every=10, end=100, densities=densities or [0.4, 1, 0.4, 1], before=before, mode=mode,
    )  # fmt: skip


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("mode", ["not_kept", "not_active"])
def test_client_side_round_keeps_layer_counts(before, mode):
    params, masks = client_side(before=before, mode=mode)
    assert kept(masks, MAY) == [int(30 * 0.4), int(20 * 0.4)]
    assert not two_layers.same(masks, two_layers.start(0.4)[1])
    assert all((w[~m] == 0).all() for w, m in zip(params, masks, strict=True))


def test_client_side_round_without_a_move_is_the_static_mask():
    model, masks = two_layers.start(0.4)
    static = masked_fedavg(two_layers.grad, model, masks, [0, 1], [1, 2], STEPS, 0.1)
    for other in (client_side(t=9), client_side(alpha=0.0), client_side(t=110)):
        assert two_layers.same(other[1], masks)
        for a, b in zip(other[0], static, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_density_one_is_fedavg():
    params = two_layers.model()
    ours, masks = client_side(params=params, masks=dense(params), densities=[1.0] * 4)
    assert all(m.all() for m in masks)
    plain = masked_fedavg(two_layers.grad, params, dense(params), [0, 1], [1, 2], STEPS, 0.1)
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_set_at_the_clients_follows_the_draws():
    draw = lambda seed: lambda client, params: two_layers.uniform(seed + client)  # noqa: E731
    assert not two_layers.same(client_side(scores=draw(0))[1], client_side(scores=draw(50))[1])
    assert dst.bytes_sent(10, 21, True) == 43
    assert dst.bytes_sent(10, 21, False) == 40


def test_server_prefers_a_zero_of_the_union_and_scores_are_each_clients_own():
    models, masks = [[np.array([0, 0, 2.0, 0])]], [[np.array([0, 0, 1, 1], bool)]]
    np.testing.assert_array_equal(
        dst.server(models, masks, [1], [True], [0.5])[1][0], [False, False, True, True]
    )
    params, masks = two_layers.start(0.4)
    moved = dst.client(two_layers.grad, magnitudes, 1, params, masks, MAY, STEPS, 0.1, 0.5, before=3)
    trained = sgd(two_layers.grad, 1, params, masks, STEPS, 0.1)
    by_hand = dst.move_model(trained, masks, magnitudes(1, trained), MAY, 0.5, "not_kept")
    assert two_layers.same(moved[1], by_hand[1])
    assert two_layers.same(moved[0], by_hand[0])
