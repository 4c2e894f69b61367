"""Ditto against its twin, its identities and its counts."""

import numpy as np
import pytest

from tests import toy
from tests.baselines import ditto_twin as twin
from tests.baselines import personal_problem as problems


@pytest.mark.parametrize("pull", ["after-step", "in-gradient"])
def test_three_rounds_agree_with_the_twin(pull):
    problem = problems.setting(clip_norm=0.3, weight_decay=1e-2)
    (server, clients, _), *after = problems.rounds_of(
        toy.algorithm("ditto", problem, lam=0.7, pull=pull), problem, 3
    )
    state = twin.initial(problems.leaves(server.variables), problems.CLIENTS)
    for t, (server, clients, metrics) in enumerate(after, start=1):
        state = twin.ditto_round(
            state,
            problems.cohort(problem, t),
            grad=problems.gradient(problem),
            sizes=toy.SIZES,
            global_steps=2,
            personal_steps=3,
            lr=0.1,
            lam=0.7,
            decay=1e-2,
            clip=0.3,
            joint=pull == "in-gradient",
        )
        problems.close(problems.leaves(server.variables), state["server"])
        for k in range(problems.CLIENTS):
            problems.close(problems.one_client(clients, k), state["personal"][k])
        np.testing.assert_array_equal(metrics.work.steps, [5] * 4)


def test_its_server_is_that_of_fedavg():
    problem = problems.setting()
    *_, (server, _, metrics) = problems.rounds_of(toy.algorithm("ditto", problem), problem, 2)
    *_, (fedavg, _, its_metrics) = problems.rounds_of(toy.algorithm("fedavg", problem), problem, 2)
    toy.leaves_close(server.variables, fedavg.variables)
    toy.leaves_close((metrics.up, metrics.down), (its_metrics.up, its_metrics.down))


def test_only_who_takes_part_gets_another_personal_model():
    problem = problems.setting()
    (_, before, _), (_, after, _) = problems.rounds_of(toy.algorithm("ditto", problem), problem, 1)
    moved = np.any(before.params["Dense_1"]["kernel"] != after.params["Dense_1"]["kernel"], axis=(1, 2))
    assert np.flatnonzero(moved).tolist() == problems.cohort(problem, 1)
