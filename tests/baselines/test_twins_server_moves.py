"""Twins of masks that the server moves (FedTiny, FedRTS) against the golden values of their sources."""

import numpy as np
import pytest

from tests.baselines import dst_twin as dst
from tests.baselines import fedrts_twin as fedrts
from tests.baselines import fedtiny_twin as fedtiny
from tests.baselines import two_layers
from tests.baselines.twin_steps import cosine, dense, kept, masked_fedavg, sgd

MAY = two_layers.PRUNABLE
STEPS = range(3)


# FedTiny.


def test_fedtiny_top_k_and_its_index_bug():
    mask, g = np.array([1, 0, 1, 0, 0], bool), np.array([9.0, -1, 8, -3, 2])
    np.testing.assert_array_equal(fedtiny.survivors(g, mask, 1), [0, 0, 0, -3, 0])
    np.testing.assert_array_equal(fedtiny.survivors(g, mask, 1, index_bug=True), [0, -1, 0, 0, 0])


def fedtiny_round(t=10, alpha=0.5, params=None, masks=None, **options):
    model, static = two_layers.start(0.4)
    return fedtiny.federated_round(
        two_layers.grad, two_layers.probe, params or model, masks or static, MAY, [0, 1], [1, 2], STEPS, t,
        lr=0.1, alpha=alpha, every=10, end=100, **options,
    )  # fmt: skip


@pytest.mark.parametrize("progressive", [False, True])
def test_fedtiny_layer_counts_are_constant(progressive):
    model, masks = two_layers.start(0.4)
    static = masked_fedavg(two_layers.grad, model, masks, [0, 1], [1, 2], STEPS, 0.1)
    params, after = fedtiny_round(progressive=progressive)
    assert kept(after, MAY) == kept(masks, MAY)
    assert not two_layers.same(after, masks)
    for w, s, old, new in zip(params, static, masks, after, strict=True):
        assert (w[new & ~old] == 0).all()
        assert (w[~new] == 0).all()
        assert (w[new & old] == s[new & old]).all()


def test_fedtiny_identities():
    model, masks = two_layers.start(0.4)
    static = masked_fedavg(two_layers.grad, model, masks, [0, 1], [1, 2], STEPS, 0.1)
    for other in (fedtiny_round(t=0), fedtiny_round(t=11), fedtiny_round(t=110), fedtiny_round(alpha=0.0)):
        assert two_layers.same(other[0], static)
        assert two_layers.same(other[1], masks)
    params = two_layers.model()
    plain = masked_fedavg(two_layers.grad, params, dense(params), [0, 1], [1, 2], STEPS, 0.1)
    assert two_layers.same(fedtiny_round(params=params, masks=dense(params))[0], plain)
    assert not two_layers.same(
        fedtiny_round(progressive=True)[1], fedtiny_round(progressive=True, index_bug=True)[1]
    )


def test_fedtiny_chooses_the_candidate_of_least_mean_loss():
    statistics = lambda client, candidate: [np.array([client + 10.0 * candidate])]  # noqa: E731
    loss = lambda client, candidate, bn: float(abs(bn[0][0] - 11) + client * candidate)  # noqa: E731
    best, bn = fedtiny.choose(statistics, loss, 3, [0, 4], [1, 3])
    assert best == 1
    np.testing.assert_allclose(bn[0], [13], rtol=1e-12)
    assert fedtiny.choose(statistics, loss, 3, [0, 4], [1, 3], loss_weights=[0, 1])[0] == 1
    assert fedtiny.choose(statistics, lambda *_: 1.0, 3, [0, 4], [1, 3])[0] == 0


def test_fedtiny_bytes():
    assert fedtiny.bytes_up(10, 100, False) == 40
    assert fedtiny.bytes_up(10, 100, True) == 440
    assert fedtiny.bytes_up(10, 100, True, k=2) == 56
    assert fedtiny.bytes_down(10, 100, True) == 53
    assert fedtiny.bytes_down(10, 100, False) == 40


# FedRTS.

W1, W2 = np.array([0.9, 0.1, 0.2, 0.5]), np.array([0.3, 0.8, 0.6, 0.1])


@pytest.mark.parametrize(("bug", "expected"), [(False, [0.75, 0.75, 0.25, 0.25]), (True, [0.75, 1, 0.25, 0])])
def test_fedrts_golden_votes(bug, expected):
    here = np.ones(4, bool)
    outcome = fedrts.active_outcome((W1 + W2) / 2, [W1, W2], [1, 1], here, 2, 0.5, bug)
    np.testing.assert_allclose(outcome, expected, rtol=1e-12)
    a, b = fedrts.update(np.ones(4), np.ones(4), outcome, here, 10)
    if not bug:
        np.testing.assert_allclose(a, [8.5, 8.5, 3.5, 3.5], rtol=1e-12)
        np.testing.assert_allclose(b, [3.5, 3.5, 8.5, 8.5], rtol=1e-12)


def test_fedrts_golden_votes_of_inactive_entries():
    gradients = [np.array([3.0, 2, 0]), np.array([3.0, 0, -2])]
    outcome = fedrts.inactive_outcome(gradients, [1, 1], np.zeros(3, bool), 2, 0.5)
    np.testing.assert_allclose(outcome, [0.75, 0.5, 0.5], rtol=1e-12)
    a, b = fedrts.update(np.ones(3), np.ones(3), outcome, np.ones(3, bool), 10)
    np.testing.assert_allclose(a / (a + b), [0.70833333, 0.5, 0.5], atol=5e-9)


def fedrts_round(server, t=10, draw=None, **options):
    means = lambda t, leaf, a, b: a / (a + b)  # noqa: E731
    return fedrts.federated_round(
        two_layers.grad, two_layers.probe, draw or means, server, MAY, [0, 1], [1, 2], STEPS, t,
        **{"lr": 0.1, "alpha": 0.5, "every": 10, "end": 100, **options},
    )  # fmt: skip


def test_fedrts_rounds_keep_counts_and_add_lambda_to_every_posterior():
    server = fedrts.start(*two_layers.start(0.4))
    beta = lambda t, leaf, a, b: np.random.default_rng([t, leaf]).beta(a, b)  # noqa: E731
    for t in range(8, 12):
        before, server = server, fedrts_round(server, t, beta)
        assert kept(server.masks, MAY) == kept(before.masks, MAY)
        assert two_layers.same(server.masks, before.masks) == (t != 10)
        for i in (0, 2):
            gained = server.a[i] + server.b[i] - before.a[i] - before.b[i]
            where = np.ones_like(before.masks[i]) if t == 10 else before.masks[i]
            np.testing.assert_allclose(gained, np.where(where, 10.0, 0), atol=1e-12)
            assert (server.params[i][~server.masks[i]] == 0).all()
        assert (server.a[1] == 1).all()
        assert (server.b[3] == 1).all()


def test_fedrts_without_client_votes_and_lambda_large_keeps_by_magnitude():
    server = fedrts.start(*two_layers.start(0.4))
    after = fedrts_round(server, gamma=0.0, strength=1e12)
    mean = masked_fedavg(two_layers.grad, server.params, server.masks, [0, 1], [1, 2], STEPS, 0.1)
    rate = cosine(10, 0.5, 100)
    for i in (0, 2):
        active = int(server.masks[i].sum())
        stays = dst.keep(mean[i], server.masks[i], active - int(rate * active))
        assert (after.masks[i] & stays == stays).all()
        inactive = ~server.masks[i]
        assert (after.a[i][inactive] == after.b[i][inactive]).all()


def test_fedrts_trains_as_the_static_mask_and_votes_after_the_end():
    server = fedrts.start(*two_layers.start(0.4))
    after = fedrts_round(server, t=110)
    static = masked_fedavg(two_layers.grad, server.params, server.masks, [0, 1], [1, 2], STEPS, 0.1)
    assert two_layers.same(after.params, static)
    assert two_layers.same(after.masks, server.masks)
    assert not two_layers.same(after.a, server.a)
    assert fedrts.bytes_of_adjustment(3) == 12


def test_fedtiny_adjustment_by_hand():
    params, masks = two_layers.start(0.4)
    probes = []

    def noted(client, model):
        probes.append((client, model))
        return two_layers.probe(client, model)

    after, moved = fedtiny.federated_round(
        two_layers.grad, noted, params, masks, MAY, [0, 1], [1, 9], STEPS, 10, lr=0.3, alpha=0.5, every=10, end=100
    )  # fmt: skip
    models = [sgd(two_layers.grad, c, params, masks, STEPS, 0.3) for c in (0, 1)]
    assert [c for c, _ in probes] == [0, 1]
    assert all(two_layers.same(seen, model) for (_, seen), model in zip(probes, models, strict=True))
    gradients = [two_layers.probe(c, w) for c, w in enumerate(models)]
    for i in (0, 2):
        mean = 0.1 * models[0][i] + 0.9 * models[1][i]
        score = np.abs(0.1 * gradients[0][i] + 0.9 * gradients[1][i])
        active = int(masks[i].sum())
        k = int(cosine(10, 0.5, 100) * active)
        stays = set(np.argsort(-np.where(masks[i], np.abs(mean), -1).ravel())[: active - k])
        grown = [j for j in np.argsort(-score.ravel()) if j not in stays][:k]
        assert set(np.flatnonzero(moved[i])) == stays | set(grown)
        expected = np.where(moved[i] & masks[i], mean, 0)
        np.testing.assert_allclose(after[i], expected, rtol=1e-12, atol=1e-15)
