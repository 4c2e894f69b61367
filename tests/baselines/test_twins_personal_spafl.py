"""The twin of SpaFL against its specification: golden layer, scalars sent, derivative of the mask, identities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.baselines import spafl_twin as twin
from tests.baselines.personal_twin import mean, quadratics, sgd

W = np.array([[0.5, -0.1, 0.2, 0.3, -0.7], [0.1, 0.2, -0.05, 0, 0.4]])
TAU = np.array([0.3, 0.2])
PRUNABLE = [True, False, True]
GENERATOR = np.random.default_rng(0)
START = [GENERATOR.normal(size=(3, 2, 2, 2)), GENERATOR.normal(size=3), GENERATOR.normal(size=(2, 5))]
GRAD = quadratics(GENERATOR.uniform(0.5, 2, (3, 37)), GENERATOR.normal(size=(3, 37)))


def one_round(state: dict, cohort=(0, 1), **changes) -> dict:
    options: dict = {"grad": GRAD, "prunable": PRUNABLE, "steps": 4, "lr": 0.05, "coef": 0.1}
    return twin.spafl_round(state, cohort, **(options | changes))


def test_the_golden_masks_penalty_and_thresholds():
    assert np.abs(W).mean(axis=1) == pytest.approx([0.36, 0.15], abs=1e-12)
    (mask,) = twin.masks_of([W], [TAU], [True])
    assert mask.tolist() == [[True] * 5, [False] * 5]
    assert twin.layer_density([mask], [True]) == 0.5
    assert 0.002 * np.exp(-TAU).sum() == pytest.approx(0.0031190979, abs=5e-11)
    state = {"tau": [TAU], "w": [[W]], "taus": [[TAU]]}
    no_loss = {"grad": lambda client, params, step: [np.zeros_like(W)], "prunable": [True]}
    options = {"steps": 1, "lr": 0.1, "coef": 0.002, "momentum": 0.0, "update": False}
    new = one_round(state, [0], **no_loss, **options)
    assert (new["tau"][0] - TAU) / -0.1 == pytest.approx([-0.00148164, -0.00163746], abs=5e-9)
    assert new["tau"][0] == pytest.approx([0.30014816, 0.20016375], abs=5e-9)
    assert (new["w"][0][0] == W).all()


def test_a_margin_of_zero_is_off():
    (mask,) = twin.masks_of([np.array([[0.5, -0.5], [0.0, 0.0]])], [np.array([0.5, 0.0])], [True])
    assert not mask.any()


@pytest.mark.parametrize("axis", [0, -1])
def test_the_golden_answer_to_the_thresholds(axis: int):
    w = W if axis == 0 else W.T
    (new,) = twin.shifted([w], [np.array([0.05, -0.02])], [True], axis)
    change = new - w if axis == 0 else (new - w).T
    assert np.allclose(change, [[-0.01] * 5, [0.004] * 5], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3, 2, 2)), (-1, (2, 2, 3, 2))])
def test_a_convolution_divides_by_its_kernel_area_only(axis: int, shape: tuple[int, ...]):
    (new,) = twin.shifted([np.ones(shape)], [np.array([0.4, 0])], [True], axis)
    filters = np.moveaxis(new, axis, 0)
    assert np.allclose(filters[0], 0.9, rtol=0, atol=1e-12)
    assert (filters[1] == 1).all()


def test_a_row_whose_sum_is_zero_does_not_move():
    (new,) = twin.shifted([np.array([[1.0, -1.0]])], [np.array([3.0])], [True])
    assert new.tolist() == [[1, -1]]


def test_the_scalars_of_lenet5():
    shapes = [(20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,), (500, 800), (500,), (10, 500), (10,)]
    prunable = [len(shape) > 1 for shape in shapes]
    state = twin.initial([np.zeros(shape) for shape in shapes], 1, prunable)
    scalars = sum(tau.size for tau in state["tau"])
    assert scalars == 580
    assert 4 * scalars == 2320
    assert 4 * sum(math.prod(shape) for shape in shapes) == pytest.approx(1.72e6, abs=5e3)
    assert all(mask.all() for mask in twin.masks_of(START, twin.initial(START, 1, PRUNABLE)["tau"], PRUNABLE))


def test_the_penalty_is_whole_from_the_first_round_on():
    assert twin.coefficient(0.002, 1, 1) == pytest.approx(0.002, rel=0.01)
    assert twin.coefficient(0.002, 0.5, 1) == pytest.approx(0.001, abs=1e-12)


def test_gradients_are_those_of_a_mask_that_moves_with_its_margin():
    """With M = margin - margin_0 + M_0, whose derivative is 1, central differences agree."""
    w, tau = [W + 0.01, W[:, :3] * 2], [TAU, TAU / 2]
    grad = quadratics(np.full((1, 16), 1.5), np.linspace(-1, 1, 16)[None])
    fixed = twin.masks_of(w, tau, [True, True])
    at = [twin.margins(p, t, 0) for p, t in zip(w, tau, strict=True)]

    def loss(flat: np.ndarray) -> float:
        params, taus = unpack(flat)
        total, start = 0.1 * sum(float(np.exp(-t).sum()) for t in taus), 0
        for p, t, m, margin in zip(params, taus, fixed, at, strict=True):
            surrogate = p * (m + (twin.margins(p, t, 0) - margin)[:, None])
            target = np.linspace(-1, 1, 16)[start : start + p.size].reshape(p.shape)
            total, start = total + 0.75 * float(((surrogate - target) ** 2).sum()), start + p.size
        return total

    def unpack(flat: np.ndarray):
        ends = np.cumsum([p.size for p in (*w, *tau)])[:-1]
        parts = [x.reshape(p.shape) for x, p in zip(np.split(flat, ends), (*w, *tau), strict=True)]
        return parts[:2], parts[2:]

    found = twin.joint_gradient(w, tau, [True, True], lambda params: grad(0, params, 0), coef=0.1)
    flat = np.concatenate([p.reshape(-1) for p in (*w, *tau)])
    differences = [(loss(flat + 1e-5 * e) - loss(flat - 1e-5 * e)) / 2e-5 for e in np.eye(len(flat))]
    assert np.concatenate([g.reshape(-1) for part in found for g in part]) == pytest.approx(
        differences, abs=1e-8
    )


def test_without_penalty_thresholds_and_answer_it_is_local_training_if_the_mask_passes_nothing_back():
    alone: dict = {"coef": 0.0, "train_taus": False, "update": False}
    local = [sgd(lambda p, s, k=k: GRAD(k, p, s), START, range(4), 0.05, momentum=0.9) for k in range(2)]
    first = twin.initial(START, 3, PRUNABLE)
    for quiet in ({"through_weights": False}, {"window": lambda margin: np.zeros_like(margin)}):
        state = one_round(first, **alone, **quiet)
        for k in range(2):
            assert all(
                np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(state["w"][k], local[k], strict=True)
            )
        assert not any(tau.any() for tau in state["tau"])
        assert state["w"][2] is START
    official = one_round(first, **alone)
    assert np.abs(official["w"][0][0] - local[0][0]).max() > 1e-3


def test_everybody_answers_and_only_thresholds_are_averaged():
    first = twin.initial(START, 3, PRUNABLE)
    state, still = one_round(first), one_round(first, update=False)
    expected = mean(state["taus"][:2])
    assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(state["tau"], expected, strict=True))
    assert not any(tau.any() for tau in state["taus"][2])
    for k in range(3):
        answered = twin.shifted(still["w"][k], state["tau"], PRUNABLE)
        assert all((a == b).all() for a, b in zip(state["w"][k], answered, strict=True))
        assert (state["w"][k][1] == still["w"][k][1]).all()
        assert (state["w"][k][0] != still["w"][k][0]).any()
    assert (state["w"][0][0] != state["w"][1][0]).any()


def test_the_next_round_starts_from_the_servers_thresholds():
    state = one_round(twin.initial(START, 3, PRUNABLE))
    again = one_round(state, cohort=[0], steps=0)
    assert all((a == b).all() for a, b in zip(again["taus"][0], state["tau"], strict=True))
    assert again["taus"][1] is state["taus"][1]


def test_the_cifar_window_lets_only_large_margins_pass():
    assert twin.outside_one(np.array([-1.5, -1, 0, 0.5, 1, 1.01])).tolist() == [1, 0, 0, 0, 0, 1]
    small = [np.full((2, 4), 0.5)]
    _, taus = twin.joint_gradient(
        small, [np.zeros(2)], [True], lambda params: params, coef=0.1, window=twin.outside_one
    )
    assert np.allclose(taus[0], -0.1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("clip", [math.inf, 0.01])
def test_filters_may_lie_on_the_last_axis(clip: float):
    def turned(params: list[np.ndarray]) -> list[np.ndarray]:
        return [params[0].transpose(2, 3, 1, 0), params[1], params[2].T]

    def back(params: list[np.ndarray]) -> list[np.ndarray]:
        return [params[0].transpose(3, 2, 0, 1), params[1], params[2].T]

    state = one_round(twin.initial(START, 3, PRUNABLE), clip=clip)
    other = one_round(
        twin.initial(turned(START), 3, PRUNABLE, -1),
        grad=lambda client, params, step: turned(GRAD(client, back(params), step)),
        axis=-1,
        clip=clip,
    )
    for k in range(3):
        for a, b in zip(
            turned(twin.personal(state, k, PRUNABLE)), twin.personal(other, k, PRUNABLE, -1), strict=True
        ):
            assert np.allclose(a, b, rtol=0, atol=1e-12)
