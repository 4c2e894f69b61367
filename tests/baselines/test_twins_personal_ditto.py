"""The twin of Ditto against its specification and rounds worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.baselines import ditto_twin as twin
from tests.baselines.personal_twin import Params, mean, quadratics, sgd

GRAD = quadratics(np.array([[1.0], [3.0]]), np.array([[1.0], [-2.0]]))  # a / 2 (x - b)^2


def one_round(state: dict, cohort=(0, 1), lam: float = 0.5, **changes) -> dict:
    options: dict = {
        "grad": GRAD,
        "sizes": [1, 1],
        "global_steps": 2,
        "personal_steps": 1,
        "lr": 0.1,
        "lam": lam,
    }
    return twin.ditto_round(state, cohort, **(options | changes))


def start() -> dict:
    return twin.initial([np.zeros(1)], 2)


def test_two_rounds_by_hand():
    state = one_round(start())
    # y = (0.19, -1.02); v: 0 - 0.1 g = (0.1, -0.6), then times 1 - 0.05.
    assert state["server"][0] == pytest.approx(-0.415, abs=1e-12)
    assert [v[0][0] for v in state["personal"]] == pytest.approx([0.095, -0.57], abs=1e-12)
    state = one_round(state, cohort=[0])
    # v = 0.095 + 0.1 * 0.905 = 0.1855, then - 0.05 (0.1855 + 0.415) = 0.155475; y = 1 - 0.81 * 1.415.
    assert state["personal"][0][0] == pytest.approx(0.155475, abs=1e-12)
    assert state["personal"][1][0] == pytest.approx(-0.57, abs=1e-12)
    assert state["server"][0] == pytest.approx(-0.14615, abs=1e-12)


def test_who_never_took_part_has_the_first_weights():
    first = start()
    state = one_round(one_round(first, cohort=[1]), cohort=[1])
    assert state["personal"][0] is first["personal"][0]


def test_lambda_zero_is_local_training_and_one_over_the_rate_is_the_server():
    state, v = start(), [[np.zeros(1)], [np.zeros(1)]]
    for _ in range(3):
        state = one_round(state, lam=0.0, personal_steps=3)
        v = [sgd(lambda p, s, k=k: GRAD(k, p, s), v[k], range(3), 0.1) for k in range(2)]
    assert state["personal"] == v
    received = state["server"]
    state = one_round(state, lam=10.0, personal_steps=3)
    assert all(np.allclose(p[0], received[0], rtol=0, atol=1e-12) for p in state["personal"])


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_the_global_branch_is_weighted_fedavg_whatever_lambda(lam: float):
    state, server = start(), [np.zeros(1)]
    for _ in range(3):
        state = one_round(state, lam=lam, sizes=[1, 3])
        server = mean([sgd(lambda p, s, k=k: GRAD(k, p, s), server, range(2), 0.1) for k in range(2)], [1, 3])
    assert np.allclose(state["server"][0], server[0], rtol=0, atol=1e-12)


def test_the_textbook_pull_differs_by_the_square_of_the_rate():
    after, joint = one_round(start()), one_round(start(), joint=True)
    for k in range(2):
        g = GRAD(k, [np.zeros(1)], 0)[0]
        difference = after["personal"][k][0] - joint["personal"][k][0]
        assert np.allclose(difference, 0.1**2 * 0.5 * g, rtol=0, atol=1e-12)


def test_steps_are_numbered_through_both_branches():
    seen = []

    def grad(client: int, params: Params, step: int) -> Params:
        seen.append((client, step))
        return GRAD(client, params, step)

    one_round(start(), cohort=[1], grad=grad, personal_steps=3)
    assert seen == [(1, step) for step in range(5)]


def test_the_pull_escapes_the_clip():
    state = start()
    state["server"] = [np.array([100.0])]
    new = one_round(state, cohort=[0], clip=0.5)
    # Gradient -1 is clipped to -0.5: v = 0.05, then - 0.05 (0.05 - 100).
    assert new["personal"][0][0] == pytest.approx(0.05 + 0.05 * 99.95, abs=1e-12)
