"""RigL and SET at the clients against their twin, and who has to be told which mask."""

import jax
import numpy as np
import pytest

from fedjax_sparse.sparsity import saliency
from tests import toy
from tests.baselines import dst_twin as twin
from tests.baselines import personal_problem as problems
from tests.baselines.twin_steps import kept

PRUNABLE, KERNELS, DENSE = problems.PRUNABLE, 35, 8
DENSITIES = [1.0, 8 / 20, 1.0, 6 / 15]
HYPER = {"sparsity": 0.6, "allocation": "uniform", "drop_fraction": 0.5, "adjust_until": 10}


def scores_of(name, problem, t):
    grad = problems.gradient(problem)
    _, work_key = jax.random.split(problems.round_key(t))

    def steepest(client, params):
        return [abs(g) for g in grad(client, params, 0)]

    def drawn(client, params):
        _, move_key = jax.random.split(jax.random.fold_in(work_key, client))
        like = jax.tree.unflatten(jax.tree.structure(problem.federation.params), params)
        return problems.leaves(saliency.random(move_key, like))

    return {"rigl": steepest, "set": drawn}[name]


@pytest.mark.parametrize(
    ("name", "every", "hyper"),
    [
        ("rigl", 2, {"client_momentum": 0.5}),
        ("rigl", 1, {"adjust_after": 2}),
        ("set", 1, {"exclude_dropped": True}),
    ],
)
def test_three_rounds_agree_with_the_twin(name, every, hyper):
    local = {"client_momentum": hyper.pop("client_momentum")} if "client_momentum" in hyper else {}
    problem = problems.setting(local_epochs=3, weight_decay=0.01, **local)
    algorithm = toy.algorithm(name, problem, adjust_every=every, **HYPER, **hyper)
    (server, *_), *after = problems.rounds_of(algorithm, problem, 3)
    params, masks = problems.leaves(server.variables.params), problems.leaves(server.mask)
    assert kept(masks, PRUNABLE) == [8, 6]
    knows, moved = {}, 0
    for t, (server, clients, metrics) in enumerate(after, start=1):
        cohort, before = problems.cohort(problem, t), masks
        params, masks = twin.federated_round(
            problems.gradient(problem),
            scores_of(name, problem, t),
            params,
            masks,
            PRUNABLE,
            cohort,
            [toy.SIZES[k] for k in cohort],
            range(3),
            t,
            lr=0.1,
            alpha=0.5,
            every=every,
            end=10,
            densities=DENSITIES,
            before=hyper.get("adjust_after", 0),
            mode="not_active" if "exclude_dropped" in hyper else "not_kept",
            weight_decay=0.01,
            momentum=local.get("client_momentum", 0.0),
        )
        problems.close(problems.leaves(server.variables.params), params)
        problems.close(problems.leaves(server.mask), masks)
        unknowing = sum(k not in knows or knows[k] != moved for k in cohort)
        assert sorted(metrics.down.located) == sorted([14] * unknowing + [0] * (4 - unknowing))
        np.testing.assert_array_equal(metrics.up.values, 14 + DENSE)
        np.testing.assert_array_equal(metrics.up.located, 14 if t % every == 0 else 0)
        np.testing.assert_array_equal(metrics.down.universe, KERNELS)
        knows |= dict.fromkeys(cohort, moved)
        moved += any((a != b).any() for a, b in zip(before, masks, strict=True))
        assert server.moves == moved
        assert {k: v for k, v in enumerate(clients.known) if v >= 0} == knows
    assert moved >= 1


def test_a_share_of_nothing_is_a_static_mask():
    problem = problems.setting()
    (start, *_), *_, (ours, _, metrics) = problems.rounds_of(
        toy.algorithm("rigl", problem, drop_fraction=0.0, adjust_every=1), problem, 2
    )
    problems.close(problems.leaves(start.mask), problems.leaves(ours.mask))
    assert not metrics.up.located.any()
