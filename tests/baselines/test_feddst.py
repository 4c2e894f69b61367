"""FedDST against its twin, and how many entries live."""

import numpy as np
import pytest

from tests import toy
from tests.baselines import feddst_twin as twin
from tests.baselines import personal_problem as problems
from tests.baselines.twin_steps import kept

PRUNABLE, DENSE = problems.PRUNABLE, 8


@pytest.mark.parametrize(
    ("hyper", "options"),
    [
        ({}, {}),
        (
            {"growth": "not-kept", "decayed": True, "adjust_until": 9, "min_votes": 6.0},
            {"mode": "not_kept", "decayed": True, "squared": False, "end": 9, "min_votes": 6.0},
        ),
    ],
)
def test_three_rounds_agree_with_the_twin(hyper, options):
    problem = problems.setting(local_epochs=3, client_momentum=0.9, weight_decay=1e-3)
    hyper = {"sparsity": 0.5, "drop_fraction": 0.4, "adjust_every": 2, "adjust_until": 4, **hyper}
    algorithm = toy.algorithm("feddst", problem, **hyper)
    (server, *_), *after = problems.rounds_of(algorithm, problem, 3)
    counts = twin.keep_counts([(4, 5), (5, 3)], [5, 3], 0.5)
    params, masks = twin.start(problems.initial(problem), PRUNABLE, counts)
    problems.close(problems.leaves(server.mask), masks)
    settings = {
        "biases": [5, 3], "sparsity": 0.5, "initial_ratio": 0.4, "every": 2, "end": 4, "lr": 0.1,
    }  # fmt: skip
    moves = []
    for t, (server, _, metrics) in enumerate(after, start=1):
        cohort, before = problems.cohort(problem, t), masks
        weights = [float(toy.SIZES[k]) for k in cohort]
        params, masks = twin.federated_round(
            problems.gradient(problem), params, masks, PRUNABLE, cohort, weights, range(3), t - 1,
            **(settings | options),
        )  # fmt: skip
        problems.close(problems.leaves(server.mask), masks)
        problems.close(problems.leaves(server.variables.params), params)
        due, living = t == 2, sum(kept(before, PRUNABLE))
        moves.append(any((a != b).any() for a, b in zip(before, masks, strict=True)))
        if not due:
            np.testing.assert_array_equal(metrics.up.values, living + DENSE)
        elif options.get("mode") == "not_kept":
            np.testing.assert_array_equal(metrics.up.values, sum(counts) + DENSE)
        else:
            assert (metrics.up.values <= sum(counts) + DENSE).all()
        np.testing.assert_array_equal(metrics.up.located, metrics.up.values - DENSE if due else 0)
    assert moves[1]
