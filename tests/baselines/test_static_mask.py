"""Static masks against their twin, and what they cost."""

import functools

import numpy as np
import pytest

from fedjax_sparse.simulation import programs
from tests import toy
from tests.baselines import personal_problem as problems
from tests.baselines import static_masks_twin as twin
from tests.baselines.twin_steps import kept, masked_fedavg

PRUNABLE, DENSE = problems.PRUNABLE, 8


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("static-random", {}),
        ("static-erk", {"by": "magnitude"}),
    ],
)
def test_three_rounds_agree_with_the_twin(name, hyper):
    local = {"weight_decay": 0.01, "client_momentum": 0.5}
    problem = problems.setting(local_epochs=3, **local)
    algorithm = toy.algorithm(name, problem, sparsity=0.6, **hyper)
    initial = problems.initial(problem)
    (server, _, metrics), *after = problems.rounds_of(algorithm, problem, 3)
    masks = problems.leaves(server.mask)
    kind = hyper.get("allocation", "uniform" if name == "static-random" else "erk")
    scores = [abs(w) for w in initial] if "by" in hyper else [m.astype(float) for m in masks]
    params, expected = twin.start(initial, scores, PRUNABLE, 0.4, kind)
    problems.close(masks, expected)
    problems.close(problems.leaves(server.variables.params), params)
    np.testing.assert_array_equal(metrics.down.mask_bits, 35 if "by" in hyper else 64)
    for t, (server, _, metrics) in enumerate(after, start=1):
        cohort = problems.cohort(problem, t)
        params = masked_fedavg(
            problems.gradient(problem), params, expected, cohort, [toy.SIZES[k] for k in cohort], range(3),
            0.1, weight_decay=0.01, momentum=0.5,
        )  # fmt: skip
        problems.close(problems.leaves(server.variables.params), params)
        problems.close(problems.leaves(server.mask), expected)
        values = sum(kept(expected, PRUNABLE)) + DENSE
        for message in (metrics.up, metrics.down):
            np.testing.assert_array_equal(message.values, values)
            assert not message.located.any()


def test_random_masks_differ_by_seed():
    problem = problems.setting()
    program = programs.compile_program(toy.algorithm("static-random", problem, sparsity=0.6), problem, 2)
    state, _ = program.begin(problem.population, np.asarray([0, 1], np.int32))
    mask = state.server.mask["Dense_0"]["kernel"]
    assert mask.sum(axis=(1, 2)).tolist() == [8, 8]
    assert (mask[0] != mask[1]).any()


def test_without_sparsity_it_is_federated_averaging():
    problem = problems.setting()
    run = functools.partial(problems.rounds_of, problem=problem, rounds=2)
    *_, (ours, _, _) = run(toy.algorithm("static-erk", problem, sparsity=0.0))
    *_, (dense, _, _) = run(toy.algorithm("fedavg", problem))
    toy.leaves_close(ours.variables, dense.variables)
