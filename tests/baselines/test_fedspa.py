"""FedSpa against its twin, its golden values and its counts."""

import numpy as np
import pytest

from tests import toy
from tests.baselines import fedspa_twin as twin
from tests.baselines import personal_problem as problems

SIZE, ROUNDS = 43, 3


@pytest.mark.parametrize("mean_over", ["cohort", "voters"])
def test_three_rounds_agree_with_the_twin(mean_over):
    problem = problems.setting(rounds=ROUNDS, client_lr=0.2)
    algorithm = toy.algorithm("fedspa", problem, mean_over=mean_over)
    grad = problems.gradient(problem)
    (server, masks, _), *after = problems.rounds_of(algorithm, problem, ROUNDS)
    first = [problems.one_client(masks, k) for k in range(problems.CLIENTS)]
    state = twin.initial(problems.leaves(server.variables.params), first)
    for t, (server, masks, metrics) in enumerate(after):
        state = twin.fedspa_round(
            state,
            t,
            ROUNDS,
            problems.cohort(problem, t + 1),
            grad=grad,
            scores=lambda k, params: [np.abs(g) for g in grad(k, params, 0)],
            steps=2,
            lr=0.2,
            alpha0=0.5,
            voters=mean_over == "voters",
        )
        problems.close(problems.leaves(server.variables.params), state["server"])
        for k in range(problems.CLIENTS):
            problems.close(problems.one_client(masks, k), state["masks"][k])
        living = sum(int(leaf.sum()) for leaf in first[0])
        np.testing.assert_array_equal(metrics.up.values, [living] * 4)
        np.testing.assert_array_equal(metrics.down.values, [living] * 4)
        np.testing.assert_array_equal(metrics.up.mask_bits, [SIZE] * 4)
    assert any((a != b).any() for a, b in zip(first[1], state["masks"][1], strict=True))


def test_masks_that_rest_are_not_sent():
    problem = problems.setting(rounds=2)
    _, (_, masks, metrics), *_ = problems.rounds_of(
        toy.algorithm("fedspa", problem, sparsity=0.0, move_fraction=0.0), problem, 1
    )
    assert not metrics.up.mask_bits.any()
    assert all(leaf.all() for leaf in problems.leaves(masks))


def test_dense_it_is_fedavg_in_which_clients_count_alike():
    problem = problems.setting(rounds=2)
    uniform = problem._replace(population=problem.population._replace(weight=np.ones(problems.CLIENTS)))
    *_, (server, _, _) = problems.rounds_of(toy.algorithm("fedspa", problem, sparsity=0.0), problem, 2)
    *_, (fedavg, _, _) = problems.rounds_of(toy.algorithm("fedavg", uniform), uniform, 2)
    toy.leaves_close(server.variables, fedavg.variables)
