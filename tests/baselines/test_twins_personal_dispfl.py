"""The twin of DisPFL against its specification: rho, ERK, the mean over neighbours, constant counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.baselines import dispfl_twin as twin
from tests.baselines.personal_twin import (
    Gradient,
    Params,
    Scores,
    cosine,
    dense,
    density,
    mean,
    quadratics,
    sgd,
)

SHAPES = [(6, 5), (5,), (8, 3), (3,)]


def resnet18() -> dict[str, tuple[int, ...]]:
    """ResNet-18 with a CIFAR stem and GroupNorm, in PyTorch's layout."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 3, 3), "gn1": (64,), "gb1": (64,)}

    def conv(name: str, out: int, into: int, kernel: int) -> None:
        shapes[name] = (out, into, kernel, kernel)
        shapes[f"{name}.g"] = shapes[f"{name}.b"] = (out,)

    into = 64
    for stage, width in enumerate([64, 128, 256, 512]):
        for block in range(2):
            conv(f"{stage}.{block}.1", width, into, 3)
            conv(f"{stage}.{block}.2", width, width, 3)
            if into != width:
                conv(f"{stage}.{block}.shortcut", width, into, 1)
            into = width
    shapes["fc"], shapes["fc.b"] = (10, 512), (10,)
    return shapes


@pytest.mark.parametrize(
    ("target", "last", "shortcuts"),
    [(0.5, 0.3578, (1, 1, 1)), (0.2, 0.1221, (1, 1, 1)), (0.05, 0.0275, (1, 0.742, 0.370))],
)
def test_erk_of_resnet18(target: float, last: float, shortcuts: tuple[float, ...]):
    shapes = resnet18()
    sizes = [math.prod(shape) for shape in shapes.values()]
    assert sum(sizes) == 11_173_962
    found = dict(zip(shapes, twin.erk(list(shapes.values()), target), strict=True))
    assert found["3.1.2"] == pytest.approx(last, abs=5e-5)
    assert [found[f"{stage}.0.shortcut"] for stage in (1, 2, 3)] == pytest.approx(shortcuts, abs=5e-4)
    assert all(found[name] == 1 for name, shape in shapes.items() if len(shape) == 1)
    assert found["conv1"] == found["fc"] == 1
    assert np.dot(list(found.values()), sizes) == pytest.approx(target * sum(sizes), abs=1e-6)


def test_erk_of_everything_is_dense():
    densities = twin.erk(SHAPES, 1.0)
    assert densities == pytest.approx([1] * 4, abs=1e-12)
    assert all(m.all() for m in twin.random_masks([np.zeros(shape) for shape in SHAPES], densities))


def test_rho_falls_from_a_half_to_nothing():
    assert [cosine(0.5, t, 500) for t in (0, 250, 500)] == pytest.approx([0.5, 0.25, 0], abs=1e-12)


def test_the_learning_rate_of_the_scripts():
    rates = [0.1 * 0.998**t for t in (0, 100, 250, 499, 998)]
    assert rates == pytest.approx([0.1, 0.081857, 0.060623, 0.036825, 0.013561], abs=5e-7)


def grad_scores(grad: Gradient) -> Scores:
    return lambda client, params: [np.abs(g) for g in grad(client, params, 0)]


def setting(target: float, clients: int = 4, seed: int = 0):
    generator = np.random.default_rng(seed)
    start = [generator.normal(size=shape) for shape in SHAPES]
    densities = twin.erk(SHAPES, target)
    masks = [
        twin.random_masks([generator.random(shape) for shape in SHAPES], densities) for _ in range(clients)
    ]
    places = sum(math.prod(shape) for shape in SHAPES)
    grad = quadratics(generator.uniform(0.5, 2, (clients, places)), generator.normal(size=(clients, places)))
    return generator, start, masks, grad


def test_random_masks_keep_the_whole_part_of_their_share():
    _, _, masks, _ = setting(0.5)
    expected = [int(d * math.prod(shape)) for d, shape in zip(twin.erk(SHAPES, 0.5), SHAPES, strict=True)]
    assert [[int(m.sum()) for m in mask] for mask in masks] == [expected] * 4
    assert any((a != b).any() for a, b in zip(masks[0], masks[1], strict=True))


@pytest.mark.parametrize("by_gradient", [False, True])
def test_counts_stay_and_models_live_within_their_masks(by_gradient: bool):
    generator, start, masks, grad = setting(0.5)
    state, rounds = twin.initial(start, masks), 6
    counts = [[int(m.sum()) for m in mask] for mask in masks]
    moved = 0
    for t in range(rounds):
        draws = [[generator.random(shape) for shape in SHAPES] for _ in range(4)]

        def scores(client: int, params: list[np.ndarray], draws=draws) -> list[np.ndarray]:
            return [np.abs(g) for g in grad(client, params, 0)] if by_gradient else draws[client]

        old = state["mask"]
        heard = {
            k: [int(j) for j in generator.choice([j for j in range(4) if j != k], 2, False)] for k in range(4)
        }
        state, before = twin.dispfl_round(
            state, t, rounds, heard, grad=grad, scores=scores, steps=3, lr=0.1 * 0.998**t, decay=5e-4, clip=10
        )
        assert [[int(m.sum()) for m in mask] for mask in state["mask"]] == counts
        assert state["shared"] == old
        for k in range(4):
            for w, first, m in zip(state["w"][k], before[k], old[k], strict=True):
                assert not w[~m].any()
                assert not first[~m].any()
        moved += sum(
            int((a != b).sum())
            for x, y in zip(old, state["mask"], strict=True)
            for a, b in zip(x, y, strict=True)
        )
    assert moved > 0
    still, _ = twin.dispfl_round(
        state, rounds, rounds, {0: [1]}, grad=grad, scores=grad_scores(grad), steps=1, lr=0.1
    )
    assert all((a == b).all() for a, b in zip(still["mask"][0], state["mask"][0], strict=True))


def test_one_round_by_hand():
    """Client 0 hears client 1. Drop ceil(0.5 * 2) = 1 of two weights, regrow where the gradient is largest."""
    state = {
        "w": [[np.array([1.0, 2, 0, 0])], [np.array([0.0, 4, 6, 0])]],
        "shared": [[np.array([True, True, False, False])], [np.array([False, True, True, False])]],
        "mask": [[np.array([True, False, True, False])], [np.array([False, True, True, False])]],
    }
    # Consensus (1, 3, 6, 0: nobody's); under the own NEW mask (1, 0, 6, 0). Then one step towards (0, 9, 0, 5).
    grad = quadratics(np.ones((2, 4)), np.array([[0.0, 9, 0, 5], [0.0, 0, 0, 0]]))
    asked = []

    def scores(client: int, params: Params) -> Params:
        asked.append(params)
        return grad_scores(grad)(client, params)

    state, before = twin.dispfl_round(state, 0, 10, {0: [1]}, grad=grad, scores=scores, steps=1, lr=0.1)
    assert before[0][0].tolist() == [1, 0, 6, 0]
    assert np.allclose(state["w"][0][0], [0.9, 0, 5.4, 0], rtol=0, atol=1e-12)
    assert asked == [state["w"][0]]  # the gradient is that of the trained model, nothing dropped yet
    assert state["shared"][0][0].tolist() == [True, False, True, False]
    assert state["mask"][0][0].tolist() == [False, True, True, False]
    assert state["w"][1][0].tolist() == [0, 4, 6, 0]


def test_equal_masks_give_the_plain_mean_and_a_coordinate_without_voter_zero():
    _, start, masks, _ = setting(0.5)
    state = twin.initial(start, [masks[0]] * 4)
    state["w"] = [[w * (k + 1) for w in model] for k, model in enumerate(state["w"])]
    found = twin.received(state, 0, [1, 2, 3])
    for f, expected, m in zip(found, mean(state["w"]), masks[0], strict=True):
        assert np.allclose(f, expected, rtol=0, atol=1e-12)
        assert not f[~m].any()


def test_without_sparsity_and_with_everybody_heard_it_is_fedavg():
    _, start, _, grad = setting(1.0)
    state, server = twin.initial(start, [dense(start)] * 4), start
    assert density(state["mask"][0]) == 1
    for t in range(3):
        everybody = {k: [j for j in range(4) if j != k] for k in range(4)}
        state, before = twin.dispfl_round(
            state, t, 3, everybody, grad=grad, scores=grad_scores(grad), steps=2, lr=0.1
        )
        for k in range(4):
            assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(before[k], server, strict=True))
        models = [sgd(lambda p, s, k=k: grad(k, p, s), server, range(2), 0.1) for k in range(4)]
        server = mean(models)
