"""PruneFL against its twin, in both stages."""

import jax
import numpy as np
import pytest

from fedjax_sparse.simulation import programs
from tests import toy
from tests.baselines import personal_problem as problems
from tests.baselines import prunefl_twin as twin
from tests.baselines.twin_steps import dense, kept

PRUNABLE, DENSE, SIZE = problems.PRUNABLE, 8, 43
TIMES = [1.0, 1.5, 1.0, 1.5]
CLOCK = {"computation_time": 0.5, "constant_time": 10.0}


@pytest.mark.parametrize("hyper", [{}, {"remember": False, "max_density": 0.7}])
def test_four_rounds_of_all_clients_agree_with_the_twin(hyper):
    problem = problems.setting(local_epochs=3, cohort_size=problems.CLIENTS)
    algorithm = toy.algorithm("prunefl", problem, first_rounds=0, adjust_every=2, **CLOCK, **hyper)
    _, *after = problems.rounds_of(algorithm, problem, 4)
    initial = problems.initial(problem)
    server = twin.Server(initial, dense(initial), [np.zeros_like(w) for w in initial])
    densities = []
    for t, (state, clients, metrics) in enumerate(after, start=1):
        before = sum(kept(server.masks, PRUNABLE))
        server = twin.federated_round(
            problems.gradient(problem), server, PRUNABLE, range(problems.CLIENTS), toy.SIZES, range(3), t,
            lr=0.1, times=TIMES, constant=10.0, reconfigures=t % 2 == 0,
            max_density=hyper.get("max_density"), remember=hyper.get("remember", True),
        )  # fmt: skip
        problems.close(problems.leaves(state.variables.params), server.params)
        problems.close(problems.leaves(state.mask), server.masks)
        weighted = np.asarray(toy.SIZES)[:, None, None]
        told = (weighted * clients.own["Dense_0"]["kernel"]).sum(0)
        np.testing.assert_allclose(told, server.squared[1], rtol=1e-12)
        np.testing.assert_array_equal(metrics.up.values, before + DENSE + SIZE * (t % 2 == 0))
        densities.append(sum(kept(server.masks, PRUNABLE)))
    assert 35 > densities[1] != densities[3]


def test_the_first_stage_agrees_with_the_twin():
    problem = problems.setting()
    algorithm = toy.algorithm(
        "prunefl", problem, first_rounds=9, first_steps=2, first_accuracy=0.5, adjust_every=2, **CLOCK
    )
    ((server, _, metrics),) = problems.rounds_of(algorithm, problem, 0)
    key = jax.random.fold_in(jax.random.key(0), programs.PREPARE)
    client = int(jax.random.randint(jax.random.split(key)[0], (), 0, problems.CLIENTS))
    initial = problems.initial(problem)
    accuracy = problems.accuracy(problem)
    params, masks, rounds = twin.first_stage(
        problems.gradient(problem), client, initial, dense(initial), PRUNABLE, lambda w: accuracy(client, w),
        TIMES, 10.0, batches=2, classes=3, lr=0.1, max_rounds=9, every=2,
    )  # fmt: skip
    problems.close(problems.leaves(server.variables.params), params)
    problems.close(problems.leaves(server.mask), masks)
    assert sum(kept(masks, PRUNABLE)) < 35
    np.testing.assert_array_equal(
        metrics.work.steps, np.where(np.arange(problems.CLIENTS) == client, 2 * rounds, 0)
    )
    np.testing.assert_array_equal(np.flatnonzero(metrics.up.size), [client])
