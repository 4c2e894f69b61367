"""The twin of LotteryFL against its specification: percentile, overshoot, rewinding, the mean over holders."""

from __future__ import annotations

import numpy as np
import pytest

from tests.baselines import lotteryfl_twin as twin
from tests.baselines.personal_twin import Params, mean, quadratics, sgd

PRUNABLE = [True, False]
GENERATOR = np.random.default_rng(0)
START = [GENERATOR.normal(size=(20, 10)), GENERATOR.normal(size=3)]
GRAD = quadratics(GENERATOR.uniform(0.5, 2, (3, 203)), GENERATOR.normal(size=(3, 203)))


def one_round(state: dict, cohort=(0, 1, 2), *, sure: float = 1.0, **changes):
    options: dict = {
        "grad": GRAD,
        "accuracy": lambda client, params: sure,
        "prunable": PRUNABLE,
        "steps": 3,
        "lr": 0.01,
    }
    return twin.lotteryfl_round(state, cohort, **(options | changes))


@pytest.mark.parametrize(("end", "prunes", "last"), [(0.5, 4, 0.4096), (0.1, 11, 0.085899)])
def test_the_rate_overshoots_its_end(end: float, prunes: int, last: float):
    state, counts = twin.initial(START, 1), []
    for _ in range(prunes + 2):
        state, _ = one_round(state, cohort=[0], end_rate=end)
        counts.append(int(state["masks"][0][0].sum()))
    assert state["rates"][0] == pytest.approx(last, abs=5e-7)
    assert len(set(counts)) == prunes
    assert counts[-1] == counts[-3]
    assert counts[0] == 160  # of 200: ceil(0.2 * 199) = 40 go


def test_the_golden_percentile_prunes_one_of_five_and_rewinds_the_rest():
    start = [np.array([[0.5, -0.1, 0.3, -0.7, 0.2]]), np.array([0.4])]
    state = twin.initial(start, 1)
    state["server"] = [np.array([[-0.1, 0.5, 0.3, -0.7, 0.2]]), np.array([7.0])]
    new, (upload,) = one_round(state, cohort=[0], steps=0)
    assert new["masks"][0][0].tolist() == [[False, True, True, True, True]]
    assert upload[0].tolist() == [[0, -0.1, 0.3, -0.7, 0.2]]
    assert upload[1].tolist() == [0.4]
    assert new["server"][0].tolist() == [[-0.1, -0.1, 0.3, -0.7, 0.2]]  # no holder of the first: as it was
    assert start[1].tolist() == [0.4]


@pytest.mark.parametrize("closed", [{"sure": 0.2}, {"end_rate": 1.0}])
def test_both_gates_are_strict(closed: dict):
    state, _ = one_round(twin.initial(START, 3), **closed)
    assert state["rates"] == [1.0] * 3
    assert all(masks[0].all() for masks in state["masks"])


def test_the_gate_sees_the_masked_server():
    state, seen = twin.initial(START, 1), []
    state["masks"][0][0][:5] = False

    def accuracy(client: int, params: Params) -> float:
        seen.append((client, params))
        return 0.0

    one_round(state, cohort=[0], accuracy=accuracy)
    ((client, params),) = seen
    assert client == 0
    assert not params[0][:5].any()
    assert (params[0][5:] == START[0][5:]).all()


def test_without_pruning_and_the_gate_shut_it_is_fedavg_with_the_plain_mean():
    state, server = twin.initial(START, 3), START
    for _ in range(3):
        state, _ = one_round(state, sure=0.0, percent=0.0)
        models = [
            sgd(lambda p, s, k=k: GRAD(k, p, s), server, range(3), 0.01, momentum=0.5) for k in range(3)
        ]
        server = mean(models)
    assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(state["server"], server, strict=True))


def test_percent_zero_with_the_gate_open_rewinds_every_round_and_is_not_fedavg():
    state, uploads = one_round(twin.initial(START, 3), percent=0.0)
    for _ in range(2):
        state, uploads = one_round(state, percent=0.0)
    assert state["rates"] == [1.0] * 3
    once = sgd(lambda p, s: GRAD(0, p, s), START, range(3), 0.01, momentum=0.5)
    assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(uploads[0], once, strict=True))


def test_pruned_weights_stay_and_masks_only_shrink():
    state = twin.initial(START, 3)
    for _ in range(5):
        old = state["masks"]
        state, uploads = one_round(state, cohort=[0, 1])
        for k in range(2):
            assert not (state["masks"][k][0] & ~old[k][0]).any()
            assert not uploads[k][0][~state["masks"][k][0]].any()
            assert state["masks"][k][1].all()
    assert state["rates"] == pytest.approx([0.4096, 0.4096, 1], abs=1e-12)


def test_a_weight_near_zero_is_frozen_and_a_bias_is_not():
    start = [np.array([[1e-7, 1.0]]), np.zeros(3)]
    _, (upload,) = one_round(
        twin.initial(start, 1), [0], sure=0.0, grad=lambda *_: [np.ones((1, 2)), np.ones(3)], steps=1
    )
    assert upload[0][0, 0] == 1e-7
    assert upload[0][0, 1] == pytest.approx(0.99, abs=1e-12)
    assert upload[1] == pytest.approx(-0.01, abs=1e-12)


def test_bytes_follow_the_alive_weights_and_the_mask():
    state, _ = one_round(twin.initial(START, 1), cohort=[0])
    assert twin.sent_bytes(state["masks"][0]) == 4 * (160 + 3) + 26
