"""SNIP and GraSP at all clients against their twin, and what the finding of the mask costs."""

import numpy as np
import pytest

from tests import toy
from tests.baselines import all_client_saliency_twin as twin
from tests.baselines import personal_problem as problems
from tests.baselines.twin_steps import kept, masked_fedavg

PRUNABLE, KERNELS, SIZE = problems.PRUNABLE, 35, 43
EVERYONE = range(problems.CLIENTS)


def hessian_times(grad):
    """H v by central differences of the gradient, which between its kinks is exact enough to rank products."""

    def of(client, params, vector, batch, eps=1e-6):
        there, back = ([w + sign * eps * v for w, v in zip(params, vector, strict=True)] for sign in (1, -1))
        up, down = (grad(client, at, batch) for at in (there, back))
        return [(a - b) / (2 * eps) for a, b in zip(up, down, strict=True)]

    return of


def scores_of(name, problem, params):
    grad = problems.gradient(problem)
    if name == "snip-all":
        return [twin.client_snip(grad, k, params, [0]) for k in EVERYONE]
    return [twin.client_grasp(grad, hessian_times(grad), k, params, [0], PRUNABLE) for k in EVERYONE]


def masks_of(name, hyper, scores):
    if hyper.get("merge") == "union":
        return twin.union_mask(scores, PRUNABLE, 0.8)
    weights = toy.SIZES if "saliency_weighting" in hyper else None
    return twin.mean_mask(scores, PRUNABLE, 0.2, weights, ties=False)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("snip-all", {"saliency_weighting": "examples"}),
        ("snip-all", {"merge": "union"}),
        ("grasp-all", {}),
    ],
)
def test_three_rounds_agree_with_the_twin(name, hyper):
    problem = problems.setting(local_epochs=3)
    initial = problems.initial(problem)
    (server, _, metrics), *after = problems.rounds_of(
        toy.algorithm(name, problem, sparsity=0.8, **hyper), problem, 3
    )
    masks = masks_of(name, hyper, scores_of(name, problem, initial))
    problems.close(problems.leaves(server.mask), masks)
    union = hyper.get("merge") == "union"
    assert (sum(kept(masks, PRUNABLE)) > 7) == union
    np.testing.assert_array_equal(metrics.up.values, 0 if union else KERNELS)
    np.testing.assert_array_equal(metrics.up.mask_bits, KERNELS if union else 0)
    np.testing.assert_array_equal(metrics.down.values, SIZE)
    np.testing.assert_array_equal(metrics.down.mask_bits, KERNELS)
    passes = 3 if name == "grasp-all" else 1
    np.testing.assert_array_equal(metrics.work.examples, [passes * size for size in toy.SIZES])
    params = [np.where(m, w, 0) for w, m in zip(initial, masks, strict=True)]
    for t, (server, _, _) in enumerate(after, start=1):
        cohort = problems.cohort(problem, t)
        weights = [toy.SIZES[k] for k in cohort]
        params = masked_fedavg(problems.gradient(problem), params, masks, cohort, weights, range(3), 0.1)
        problems.close(problems.leaves(server.variables.params), params)
