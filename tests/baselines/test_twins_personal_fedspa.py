"""The twin of FedSpa against its specification: golden merge, identities, constant counts, bytes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.baselines import fedspa_twin as twin
from tests.baselines.dispfl_twin import erk, random_masks
from tests.baselines.personal_twin import Params, cosine, dense, masked, mean, quadratics, sgd

SHAPES = [(6, 4), (4,)]
GENERATOR = np.random.default_rng(0)
START = [GENERATOR.normal(size=shape) for shape in SHAPES]
GRAD = quadratics(GENERATOR.uniform(0.5, 2, (3, 28)), GENERATOR.normal(size=(3, 28)))
MASKS = [random_masks([GENERATOR.random(s) for s in SHAPES], erk(SHAPES, 0.5)) for _ in range(3)]


def by_gradient(client: int, params: Params) -> Params:
    return [np.abs(g) for g in GRAD(client, params, 0)]


def one_round(state: dict, t: int = 0, cohort=(0, 1, 2), alpha0: float = 0.5, **changes) -> dict:
    options: dict = {"grad": GRAD, "scores": by_gradient, "steps": 3, "lr": 0.1, "alpha0": alpha0}
    return twin.fedspa_round(state, t, 5, cohort, **(options | changes))


@pytest.mark.parametrize(("voters", "golden"), [(False, [1.1, 1.9, 2.7, 4]), (True, [1.2, 1.9, 2.4, 4])])
def test_the_golden_merge(voters: bool, golden: list[float]):
    masks = [[np.array([1, 1, 0, 0], bool)], [np.array([0, 1, 1, 0], bool)]]
    updates = [[np.array([0.2, -0.4, 0, 0])], [np.array([0, 0.2, -0.6, 0])]]
    merged = twin.merged([np.array([1.0, 2, 3, 4])], updates, masks, voters)
    assert np.allclose(merged[0], golden, rtol=0, atol=1e-12)


@pytest.mark.parametrize("voters", [False, True])
def test_a_fixed_common_mask_is_fedavg_under_that_mask(voters: bool):
    state, server = twin.initial(START, [MASKS[0]] * 3), START
    for t in range(3):
        state = one_round(state, t, alpha0=0.0, voters=voters)
        first, updates = masked(server, MASKS[0]), []
        for k in range(3):
            y = sgd(
                lambda p, s, k=k: GRAD(k, p, s), first, range(3), 0.1, after=lambda p: masked(p, MASKS[0])
            )
            updates.append([a - b for a, b in zip(y, first, strict=True)])
        server = [w + u for w, u in zip(server, mean(updates), strict=True)]
    for found, expected, begin, m in zip(state["server"], server, START, MASKS[0], strict=True):
        assert np.allclose(found, expected, rtol=0, atol=1e-12)
        assert (found[~m] == begin[~m]).all()
    assert all((a == b).all() for a, b in zip(state["masks"][1], MASKS[0], strict=True))


def test_density_one_is_fedavg_with_the_plain_mean_though_masks_are_searched():
    state, server = twin.initial(START, [dense(START)] * 3), START
    for t in range(3):
        state = one_round(state, t)
        server = mean([sgd(lambda p, s, k=k: GRAD(k, p, s), server, range(3), 0.1) for k in range(3)])
    assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(state["server"], server, strict=True))
    assert all(m.all() for masks in state["masks"] for m in masks)


def test_counts_stay_and_absent_clients_keep_their_masks():
    state = twin.initial(START, MASKS)
    counts = [[int(m.sum()) for m in masks] for masks in MASKS]
    for t in range(5):
        state = one_round(state, t, cohort=[0, 2])
        assert [[int(m.sum()) for m in masks] for masks in state["masks"]] == counts
    assert state["masks"][1] is MASKS[1]
    assert any((a != b).any() for a, b in zip(state["masks"][0], MASKS[0], strict=True))


def test_the_search_by_hand_asks_for_the_gradient_at_the_pruned_model():
    y, mask, asked = np.array([3.0, -1, 2, 0, 0, 0]), np.array([1, 1, 1, 0, 0, 0], bool), []

    def scores(client: int, params: Params) -> Params:
        asked.append(params[0].tolist())
        return [np.array([9.0, 4, 9, 1, 5, 2])]

    new = twin.searched([y], [mask], 0, 0.5, scores)  # ceil(0.5 * 3) = 2 change: -1 and 2 go
    assert asked == [[3, 0, 0, 0, 0, 0]]
    assert new[0].tolist() == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]  # 2 was dropped, and comes back by its 9


def test_the_share_that_changes():
    assert [cosine(0.3, t, 100) for t in (0, 10, 25, 50, 75, 90, 100)] == pytest.approx(
        [0.3, 0.29265848, 0.25606602, 0.15, 0.04393398, 0.00734152, 0], abs=5e-9
    )
    assert [cosine(0.2, t, 300) for t in (0, 10, 100, 150, 290, 300)] == pytest.approx(
        [0.2, 0.19945219, 0.15, 0.1, 0.00054781, 0], abs=5e-9
    )


def test_bytes_are_weights_and_a_changed_mask():
    masks = [np.array([True] * 5 + [False] * 6)]
    assert twin.sent_bytes(masks, False) == 20
    assert twin.sent_bytes(masks, True) == 22
