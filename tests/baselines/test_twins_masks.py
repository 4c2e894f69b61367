"""Twins of static masks and of SNIP and GraSP at all clients against the golden values of their sources."""

import numpy as np
import pytest

from tests.baselines import all_client_saliency_twin as saliency
from tests.baselines import static_masks_twin as static
from tests.baselines import two_layers
from tests.baselines.twin_steps import dense, kept, masked, masked_fedavg, pool_size

MLP = [(784, 128), (128, 128), (128, 10)]
CNN = [(5, 5, 3, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10)]
RESNET = (
    [(3, 3, 3, 64)]
    + [(3, 3, 64, 64)] * 4
    + [(3, 3, 64, 128)] + [(3, 3, 128, 128)] * 3 + [(1, 1, 64, 128)]
    + [(3, 3, 128, 256)] + [(3, 3, 256, 256)] * 3 + [(1, 1, 128, 256)]
    + [(3, 3, 256, 512)] + [(3, 3, 512, 512)] * 3 + [(1, 1, 256, 512)]
)  # fmt: skip
NORMS = [(64,)] * 5 + [(128,)] * 5 + [(256,)] * 5 + [(512,)] * 5


@pytest.mark.parametrize(
    ("density", "eps", "expected"),
    [
        (0.1, 9.0375191424, [0.0821330662, 0.1412112366, 0.9743575325]),
        (0.05, 4.5191424196, [0.0410700124, 0.0706116003, 0.4872200421]),
        (0.01, 0.904287902, [0.0082181777, 0.0141294985, 0.0974935394]),
    ],
)
def test_erk_of_an_mlp(density, eps, expected):
    found, passes = static.densities(MLP, density)
    np.testing.assert_allclose(passes, [eps], atol=1e-10)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_erk_counts_of_an_mlp():
    found, _ = static.densities(MLP, 0.1)
    assert static.kept_counts(MLP, found) == [8243, 2314, 1248]
    assert static.kept_counts(MLP, found, "int") == [8242, 2313, 1247]


def test_erk_of_a_cnn_makes_the_last_layer_dense():
    found, passes = static.densities(CNN, 0.2)
    np.testing.assert_allclose(passes, [14.2163406, 14.8567741935], atol=5e-8)
    np.testing.assert_allclose(passes[0] * static.raw_density(CNN[-1]), 1.5909, atol=5e-5)
    np.testing.assert_allclose(found, [0.6272860215, 0.1980903226, 0.1609483871, 0.3006728111, 1], atol=1e-10)
    counts = static.kept_counts(CNN, found)
    assert all(
        want - count in (0, 1) for count, want in zip(counts, [283, 476, 7726, 3031, 840], strict=True)
    )


@pytest.mark.parametrize(("density", "last", "shortcuts"), [
    (0.5, 0.3578, [1, 1, 1]), (0.2, 0.1221, [1, 1, 1]), (0.05, 0.0275, [1, 0.742, 0.370]),
])  # fmt: skip
def test_erk_over_all_tensors_of_a_resnet(density, last, shortcuts):
    shapes = [*RESNET, (512, 10), *NORMS, *NORMS, (10,)]
    found, _ = static.densities(shapes, density, counts="real")
    sizes = [int(np.prod(s)) for s in shapes]
    assert sum(sizes) == 11_173_962
    np.testing.assert_allclose(found[18], last, atol=5e-5)
    np.testing.assert_allclose([found[9], found[14], found[19]], shortcuts, atol=5e-4)
    assert found[0] == found[20] == 1
    np.testing.assert_allclose(np.dot(found, sizes) / sum(sizes), density, rtol=1e-12)


@pytest.mark.parametrize("kind", ["erk", "er", "uniform"])
@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_layer_densities_meet_the_target(kind, density):
    found, _ = static.densities(CNN, density, kind, "real")
    sizes = [int(np.prod(s)) for s in CNN]
    assert max(found) <= 1
    np.testing.assert_allclose(np.dot(found, sizes), density * sum(sizes), rtol=1e-12)


def test_lowered_target_counts_ignored_tensors_as_dense():
    d = static.lowered(0.1, 1000, 20)
    assert d == 80 / 980
    assert round(980 * d) + 20 == 100


def test_random_masks_have_their_counts_and_follow_the_draw():
    params = two_layers.model()
    start, masks = static.start(params, two_layers.uniform(1), two_layers.PRUNABLE, 0.3, "uniform")
    n = [30, 20]
    assert kept(masks, two_layers.PRUNABLE) == [k - int(np.floor(0.7 * k)) for k in n]
    assert masks[1].all()
    assert masks[3].all()
    assert static.non_zeros(start) == sum(kept(masks, two_layers.PRUNABLE)) + 9
    other = static.start(params, two_layers.uniform(2), two_layers.PRUNABLE, 0.3, "uniform")[1]
    assert any((a != b).any() for a, b in zip(masks, other, strict=True))


def test_a_static_mask_holds_and_density_one_is_fedavg():
    params, steps = two_layers.model(), range(3)
    start, masks = static.start(params, [np.abs(w) for w in params], two_layers.PRUNABLE, 0.4, "erk")
    after = masked_fedavg(
        two_layers.grad, start, masks, [0, 1], [1, 3], steps, 0.1, momentum=0.9, weight_decay=1e-3
    )
    assert all((w[~m] == 0).all() for w, m in zip(after, masks, strict=True))
    full, ones = static.start(params, two_layers.uniform(0), two_layers.PRUNABLE, 1.0, "erk")
    whole = masked_fedavg(two_layers.grad, full, ones, [0, 1], [1, 3], steps, 0.1)
    plain = masked_fedavg(two_layers.grad, params, dense(params), [0, 1], [1, 3], steps, 0.1)
    assert all((a == b).all() for a, b in zip(whole, plain, strict=True))


LINEAR = ([np.array([1.0, -2, 3])], np.array([1.0, 1, 2]), 4.0)


def test_snip_and_grasp_of_the_linear_toy():
    (w,), x, y = LINEAR
    residual = w @ x - y
    assert residual == 1
    g, hg = residual * x, x * (x @ (residual * x))
    np.testing.assert_array_equal(hg, [6, 6, 12])
    snip, grasp = saliency.snip([w], [g]), saliency.grasp([w], [hg])
    np.testing.assert_array_equal(snip[0], [1, 2, 6])
    np.testing.assert_array_equal(grasp[0], [6, -12, 36])
    np.testing.assert_array_equal(saliency.top_with_ties(snip, [True], 2)[0], [False, True, True])
    np.testing.assert_array_equal(saliency.top_with_ties(grasp, [True], 2)[0], [True, False, True])
    twice = saliency.client_grasp(
        lambda c, p, b: [(p[0] @ x - y) * x], lambda c, p, v, b: [x * (x @ v[0])], 0, [w], [0], [True]
    )
    np.testing.assert_array_equal(twice[0], [6, -12, 36])


def test_snip_is_the_derivative_by_the_gate_and_grasp_by_the_gradient():
    (w,), x, y = LINEAR
    eps = 1e-5
    loss = lambda c: ((c * w) @ x - y) ** 2 / 2  # noqa: E731
    gate = [(loss(1 + eps * e) - loss(1 - eps * e)) / (2 * eps) for e in np.eye(3)]
    np.testing.assert_allclose(np.abs(gate), [1, 2, 6], atol=1e-8)
    gradient = lambda v: (v @ x - y) * x  # noqa: E731
    g = gradient(w)
    np.testing.assert_allclose(
        (gradient(w + eps * g) - gradient(w - eps * g)) / (2 * eps), [6, 6, 12], atol=1e-8
    )


def scores(clients=(0, 1, 2), scale=1.0):
    params = two_layers.model()
    gradient = lambda c, p, b: [scale * g for g in two_layers.grad(c, p, b)]  # noqa: E731
    return [saliency.client_snip(gradient, c, params, [0, 1]) for c in clients]


def test_the_mask_of_all_clients():
    may = two_layers.PRUNABLE
    mask = saliency.mean_mask(scores(), may, 0.3)
    assert sum(kept(mask, may)) == int(50 * 0.3) == saliency.number_kept(mask, may, 0.3)
    assert mask[1].all()
    assert mask[3].all()
    assert two_layers.same(mask, saliency.mean_mask(scores(), may, 0.3, ties=False))
    assert two_layers.same(mask, saliency.mean_mask(scores(scale=4.0), may, 0.3))
    assert two_layers.same(mask, saliency.mean_mask(scores((2, 0, 1)), may, 0.3))
    assert two_layers.same(mask, saliency.mean_mask(scores(), may, 0.3, weights=[5, 5, 5]))
    assert not two_layers.same(mask, saliency.mean_mask(scores(), may, 0.3, weights=[100, 1, 1]))


def test_equal_clients_and_equal_batches_are_one():
    may, params = two_layers.PRUNABLE, two_layers.model()
    one = saliency.client_snip(two_layers.grad, 0, params, [4])
    assert two_layers.same(saliency.mean_mask([one], may, 0.3), saliency.mean_mask([one] * 3, may, 0.3))
    for a, b in zip(one, saliency.client_snip(two_layers.grad, 0, params, [4] * 5), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_ties_are_kept_or_cut_by_index():
    tied = [np.array([1.0, 2, 1, 1])]
    np.testing.assert_array_equal(saliency.mean_mask([tied], [True], 0.5)[0], [True] * 4)
    np.testing.assert_array_equal(
        saliency.mean_mask([tied], [True], 0.5, ties=False)[0], [True, True, False, False]
    )


def test_union_of_the_clients_own_masks():
    a, b = [np.array([4.0, 3, 2, 1])], [np.array([1.0, 3, 2, 4])]
    np.testing.assert_array_equal(saliency.union_mask([a, b], [True], 0.5)[0], [True, True, False, True])
    assert saliency.union_mask([a], [True], 0.5)[0].sum() == round(4 * 0.5)


@pytest.mark.parametrize(("prunable", "counts"), [
    (11_164_352, (5_582_176, 3_349_305, 2_232_870, 1_116_435, 558_217)),
    (11_210_432, (5_605_216, 3_363_129, 2_242_086, 1_121_043, 560_521)),
])  # fmt: skip
def test_counts_of_a_resnet(prunable, counts):
    leaf = [np.broadcast_to(0.0, prunable)]
    assert pool_size(leaf, [True]) == prunable
    assert tuple(saliency.number_kept(leaf, [True], d) for d in (0.5, 0.3, 0.2, 0.1, 0.05)) == counts


def test_cross_entropy_and_raw_logits_give_different_masks():
    rng = np.random.default_rng(0)
    w, x, y = rng.normal(size=(8, 4)), rng.normal(size=(6, 8)), rng.integers(0, 4, 6)
    hot, logits = np.eye(4)[y], x @ w
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    entropy, raw = (saliency.snip([w], [x.T @ g / 6]) for g in (softmax - hot, -hot))
    assert not two_layers.same(*(saliency.mean_mask([s], [True], 0.3) for s in (entropy, raw)))


def test_zero_biases_have_no_saliency():
    params = [np.array([1.0, 2]), np.zeros(3)]
    assert (saliency.snip(params, [np.ones(2), np.ones(3)])[1] == 0).all()


def test_rates_and_clipping():
    rates = {0: 0.1, 100: 0.081857, 250: 0.060623, 499: 0.036825, 998: 0.013561}
    np.testing.assert_allclose([saliency.learning_rate(r) for r in rates], list(rates.values()), atol=5e-7)
    long, short = [np.array([12.0, 0]), np.array([16.0])], [np.array([3.0, 4])]
    np.testing.assert_allclose(np.sqrt(sum((g**2).sum() for g in saliency.clipped(long, 10))), 10, rtol=1e-12)
    np.testing.assert_array_equal(saliency.clipped(short, 10)[0], short[0])


def test_training_under_the_mask_and_which_gradient_is_clipped():
    may, params = two_layers.PRUNABLE, two_layers.model()
    masks = saliency.mean_mask(scores(), may, 0.3)
    after = saliency.federated_round(
        two_layers.grad, masked(params, masks), masks, [0, 2], [1, 2], range(3), 1
    )
    assert all((w[~m] == 0).all() for w, m in zip(after, masks, strict=True))
    whole = saliency.train(two_layers.grad, 0, masked(params, masks), masks, range(3), 0.1, clip=0.5)
    under = saliency.train(
        two_layers.grad, 0, masked(params, masks), masks, range(3), 0.1, clip=0.5, clip_masked=True
    )
    assert not two_layers.same(whole, under)


def test_density_one_is_fedavg():
    params = two_layers.model()
    masks = saliency.mean_mask(scores(), two_layers.PRUNABLE, 1.0)
    ours = saliency.federated_round(two_layers.grad, params, masks, [0, 1], [1, 2], range(3), 0, clip=np.inf)
    plain = masked_fedavg(two_layers.grad, params, dense(params), [0, 1], [1, 2], range(3), 0.1)
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_raw_densities():
    assert static.raw_density((5, 5, 3, 6), "er") == 9 / 18
    assert static.raw_density((5, 5, 3, 6), "erk") == 19 / 450
    assert static.raw_density((120, 10), "er") == static.raw_density((120, 10), "erk")
