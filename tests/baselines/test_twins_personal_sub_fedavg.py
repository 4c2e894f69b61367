"""The twin of Sub-FedAvg against its specification: the gates, the mean over holders, how much one prune takes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.baselines import sub_fedavg_twin as twin
from tests.baselines.personal_twin import Params, density, mean, quadratics, sgd

CLIENTS, SIZE, BIAS = 3, 40, 4
PRUNABLE = [True, False]


def problem(seed: int = 0):
    generator = np.random.default_rng(seed)
    start = [generator.normal(size=(8, 5)), np.zeros(BIAS)]
    places = SIZE + BIAS
    return start, quadratics(
        generator.uniform(0.5, 3, (CLIENTS, places)), generator.normal(size=(CLIENTS, places))
    )


def one_round(state: dict | None = None, cohort=(0, 1, 2), *, sure: float = 1.0, **changes):
    start, grad = problem()
    options: dict = {
        "grad": grad,
        "accuracy": lambda client, params: sure,
        "prunable": PRUNABLE,
        "epochs": 3,
        "steps_per_epoch": 2,
        "lr": 0.1,
    }
    return twin.sub_fedavg_round(state or twin.initial(start, CLIENTS), cohort, **(options | changes))


def shares(state: dict) -> list[float]:
    return [density(masks) for masks in state["masks"]]


def test_all_gates_open_prune_a_twentieth_of_the_weights_and_no_bias():
    state, uploads = one_round()
    for k, masks in enumerate(state["masks"]):
        assert int((~masks[0]).sum()) == 2  # ceil(0.05 * 39)
        assert masks[1].all()
        assert not uploads[k][0][~masks[0]].any()


@pytest.mark.parametrize(
    "closed",
    [
        {"epochs": 1},  # then both masks are the same one
        {"target": 1.0},  # density 1 is not above it
        {"sure": 0.5},  # strictly above a half
    ],
)
def test_each_gate_alone_blocks_pruning(closed: dict):
    state, uploads = one_round(**closed)
    assert shares(state) == [1] * CLIENTS
    assert all(np.count_nonzero(upload[0]) == SIZE for upload in uploads)


def test_the_accuracy_asked_for_is_that_of_the_trained_and_pruned_model():
    asked = []

    def accuracy(client: int, params: Params) -> float:
        asked.append(params)
        return 1.0

    _, uploads = one_round(cohort=[2], accuracy=accuracy)
    assert asked[0][0].tolist() == uploads[0][0].tolist()
    assert np.count_nonzero(asked[0][0]) == SIZE - 2


def test_the_distance_must_be_above_its_bound():
    state, _ = one_round(cohort=[0])
    start, grad = problem()
    trail = [sgd(lambda p, s: grad(0, p, s), start, range(n), 0.1) for n in (2, 6)]
    m1, m2 = (twin.pruned(w, twin.dense(start), PRUNABLE, 5) for w in trail)
    apart = twin.distance(m1, m2)
    assert apart == pytest.approx(np.mean([np.mean(m1[0] != m2[0]), 0]), abs=1e-12)
    assert apart > 0
    assert (state["masks"][0][0] == m2[0]).all()
    assert shares(one_round(cohort=[0], least_distance=apart)[0])[0] == 1
    assert shares(one_round(cohort=[0], least_distance=apart * 0.99)[0])[0] < 1


def test_density_stops_at_the_target_and_falls_by_a_twentieth_of_the_alive_at_most_and_one():
    state, before = None, [1.0] * CLIENTS
    for _ in range(40):
        state, _ = one_round(state, target=0.8)
        alive = [int(masks[0].sum()) for masks in state["masks"]]
        for k, share in enumerate(shares(state)):
            lost = round((before[k] - share) * (SIZE + BIAS))
            assert 0 <= lost < 0.05 * (alive[k] + lost) + 1
            assert lost == 0 or before[k] > 0.8
        before = shares(state)
    assert max(before) <= 0.8


def test_the_mean_is_over_the_holders_of_the_rounds_start_and_nobody_leaves_the_server_alone():
    start, _ = problem()
    state = twin.initial(start, CLIENTS)
    masks = [np.ones((8, 5), bool) for _ in range(CLIENTS)]
    masks[0][0, :2] = masks[1][0, :1] = False
    state["masks"] = [[m, np.ones(BIAS, bool)] for m in masks]
    new, uploads = one_round(state, cohort=[0, 1], sure=0.0)
    assert new["server"][0][0, 0] == start[0][0, 0]
    assert new["server"][0][0, 1] == uploads[1][0][0, 1]
    assert np.allclose(new["server"][0][1:], mean(uploads)[0][1:], rtol=0, atol=1e-12)
    assert np.allclose(new["server"][1], mean(uploads)[1], rtol=0, atol=1e-12)
    assert not twin.personal(new, 0)[0][0, :2].any()


def test_zeros_of_what_was_just_pruned_count_in_the_mean_unless_the_upload_is_left_whole():
    state, official = one_round(cohort=[0, 1])
    other, whole = one_round(cohort=[0, 1], upload_pruned=False)
    assert all((a[0] == b[0]).all() for a, b in zip(state["masks"], other["masks"], strict=True))
    only_first = state["masks"][1][0] & ~state["masks"][0][0]
    assert only_first.any()
    assert np.allclose(state["server"][0][only_first], official[1][0][only_first] / 2, rtol=0, atol=1e-12)
    assert np.allclose(other["server"][0], (whole[0][0] + whole[1][0]) / 2, rtol=0, atol=1e-12)


def test_with_the_gates_closed_it_is_the_plain_fedavg():
    start, grad = problem()
    state, server = twin.initial(start, CLIENTS), start
    for _ in range(3):
        state, _ = one_round(state, sure=0.0)
        server = mean([sgd(lambda p, s, k=k: grad(k, p, s), server, range(6), 0.1) for k in range(CLIENTS)])
    assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(state["server"], server, strict=True))


def test_the_gradient_is_masked_before_it_is_clipped():
    start, _ = problem()
    state = twin.initial(start, 1)
    state["masks"][0][0][:, 1:] = False
    loud = [np.full((8, 5), 100.0), np.zeros(BIAS)]
    _, (upload,) = one_round(
        state, cohort=[0], grad=lambda *_: loud, sure=0.0, epochs=1, steps_per_epoch=1, clip=10.0
    )
    # The clip sees 8 entries of 100, so each becomes 10 / sqrt(8).
    assert np.allclose(upload[0][:, 0], start[0][:, 0] - 1 / np.sqrt(8), rtol=0, atol=1e-12)
