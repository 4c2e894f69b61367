"""FedTiny and FedRTS, whose server moves the mask, against their twins."""

import jax
import numpy as np
import pytest

from fedjax_sparse.baselines import fedrts
from tests import toy
from tests.baselines import fedrts_twin, fedtiny_twin
from tests.baselines import personal_problem as problems
from tests.baselines.twin_steps import cosine, kept

PRUNABLE, DENSE, KERNELS = problems.PRUNABLE, 8, 35
HYPER = {"sparsity": 0.6, "allocation": "uniform", "drop_fraction": 0.5, "adjust_until": 3, "adjust_every": 1}
RATES = {"lr": 0.1, "alpha": 0.5, "every": 1, "end": 3, "weight_decay": 0.01}


def run(name, problem, **hyper):
    return problems.rounds_of(toy.algorithm(name, problem, **HYPER, **hyper), problem, 3)


def who(problem, t):
    cohort = problems.cohort(problem, t)
    return cohort, [float(toy.SIZES[k]) for k in cohort]


def drops(t):
    """Positions that clients send of the two layers, which keep 8 and 6 entries."""
    return sum(int(cosine(t, 0.5, 3) * n) for n in (8, 6))


@pytest.mark.parametrize("progressive", [False, True])
def test_three_rounds_of_fedtiny_agree_with_the_twin(progressive):
    problem = problems.setting(local_epochs=3, weight_decay=0.01)
    (server, *_), *after = run("fedtiny", problem, progressive=progressive)
    params, masks = problems.leaves(server.variables.params), problems.leaves(server.mask)
    grad, moves = problems.gradient(problem), 0
    for t, (server, _, metrics) in enumerate(after, start=1):
        before = masks
        params, masks = fedtiny_twin.federated_round(
            grad, lambda k, w: grad(k, w, 0), params, masks, PRUNABLE, *who(problem, t), range(3), t,
            progressive=progressive, **RATES,
        )  # fmt: skip
        problems.close(problems.leaves(server.variables.params), params)
        problems.close(problems.leaves(server.mask), masks)
        assert kept(masks, PRUNABLE) == [8, 6]
        more = drops(t) if progressive else KERNELS * (drops(t) > 0)
        np.testing.assert_array_equal(metrics.up.values, 14 + DENSE + more)
        np.testing.assert_array_equal(metrics.up.located, drops(t) if progressive else 0)
        moves += any((a != b).any() for a, b in zip(before, masks, strict=True))
        assert server.moves == moves
    assert moves >= 1


def test_three_rounds_of_fedrts_agree_with_the_twin():
    problem = problems.setting(local_epochs=3, weight_decay=0.01)
    (server, *_), *after = run("fedrts", problem)
    twin = fedrts_twin.start(problems.leaves(server.variables.params), problems.leaves(server.mask))
    grad = problems.gradient(problem)

    def draw(t, leaf, a, b):
        key, _ = jax.random.split(problems.round_key(t))
        like = [np.ones(w.shape) for w in problems.initial(problem)]
        given = fedrts.Posterior(*([*like[:leaf], x, *like[leaf + 1 :]] for x in (a, b)))
        return np.asarray(fedrts.draws(key, jax.tree.map(jax.numpy.asarray, given))[leaf])

    for t, (server, _, metrics) in enumerate(after, start=1):
        twin = fedrts_twin.federated_round(
            grad, lambda k, w: grad(k, w, 0), draw, twin, PRUNABLE, *who(problem, t), range(3), t, **RATES
        )
        problems.close(problems.leaves(server.variables.params), twin.params)
        problems.close(problems.leaves(server.mask), twin.masks)
        problems.close(problems.leaves(server.memory.a), twin.a)
        problems.close(problems.leaves(server.memory.b), twin.b)
        np.testing.assert_array_equal(metrics.up.values, 14 + DENSE)
        np.testing.assert_array_equal(metrics.up.located, drops(t))
