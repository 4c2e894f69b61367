"""LotteryFL against its twin, its gates and its counts."""

import numpy as np
import pytest

from fedjax_sparse.baselines.lotteryfl import prunings_above
from tests import toy
from tests.baselines import lotteryfl_twin as twin
from tests.baselines import personal_problem as problems

KERNELS, DENSE = 35, 8


def test_three_rounds_agree_with_the_twin():
    problem = problems.setting(
        local_epochs=3, clip_norm=0.5, weight_decay=1e-2, client_momentum=0.5, client_lr=0.3
    )
    hyper = {"least_accuracy": 0.4, "target_density": 0.7}
    algorithm = toy.algorithm("lotteryfl", problem, **hyper)
    (server, _, _), *after = problems.rounds_of(algorithm, problem, 3)
    state = twin.initial(problems.leaves(server.variables.params), problems.CLIENTS)
    pruned = 0
    for t, (server, tickets, metrics) in enumerate(after, start=1):
        cohort, before = problems.cohort(problem, t), state
        state, _ = twin.lotteryfl_round(
            state,
            cohort,
            grad=problems.gradient(problem),
            accuracy=problems.accuracy(problem),
            prunable=problems.PRUNABLE,
            steps=3,
            lr=0.3,
            least_accuracy=0.4,
            end_rate=0.7,
            decay=1e-2,
            clip=0.5,
        )
        problems.close(problems.leaves(server.variables.params), state["server"])
        for k in range(problems.CLIENTS):
            problems.close(problems.one_client(tickets.mask, k), state["masks"][k])
        np.testing.assert_allclose(0.8**tickets.prunings, state["rates"], rtol=1e-12)
        held, kept = ([kernels(masks[k]) for k in cohort] for masks in (before["masks"], state["masks"]))
        pruned += sum(a != b for a, b in zip(held, kept, strict=True))
        assert sorted(metrics.down.values) == sorted(n + DENSE for n in held)
        assert sorted(metrics.up.values) == sorted(n + DENSE for n in kept)
        asked = [a for a, b in zip(held, kept, strict=True) if a != b]
        assert sorted(metrics.up.universe[metrics.up.located > 0]) == sorted(asked)
    assert 0 < pruned < 12  # gates that were open and gates that were not


def kernels(masks):
    return sum(int(mask.sum()) for mask, chosen in zip(masks, problems.PRUNABLE, strict=True) if chosen)


def test_with_the_gate_shut_it_is_the_plain_mean():
    problem = problems.setting(client_lr=0.3)
    uniform = problem._replace(population=problem.population._replace(weight=np.ones(problems.CLIENTS)))
    *_, (server, _, _) = problems.rounds_of(
        toy.algorithm("lotteryfl", problem, target_density=1.0), problem, 2
    )
    *_, (fedavg, _, _) = problems.rounds_of(toy.algorithm("fedavg", uniform), uniform, 2)
    toy.leaves_close(server.variables, fedavg.variables)


@pytest.mark.parametrize(
    ("target", "kept", "prunings"),
    [
        (0.5, 0.8, 4),
        (0.1, 0.8, 11),
        (1.0, 0.8, 0),
        (0.5, 0.5, 1),
        (0.9, 1.0, 2**31 - 1),
        (0.0, 0.8, 2**31 - 1),
    ],
)
def test_the_nominal_density_overshoots_its_target(target, kept, prunings):
    assert prunings_above(target, kept) == prunings
