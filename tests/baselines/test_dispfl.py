"""DisPFL against its twin, its identities and its counts."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.baselines.dispfl import hearing
from fedjax_sparse.data import population as populations
from fedjax_sparse.simulation import programs
from fedjax_sparse.sparsity import allocation
from tests import toy
from tests.baselines import dispfl_twin as twin
from tests.baselines import personal_problem as problems
from tests.baselines.personal_twin import dense, mean

N, SIZE, ROUNDS = problems.CLIENTS, 43, 3
SHAPES = {"b1": (5,), "w1": (4, 5), "b2": (3,), "w2": (5, 3)}
NEIGHBOURS = 2


def heard_in(problem, t):
    """Whom each of the present clients of round t hears, in a run with seed 0."""
    ids, present = problem.sampler.draw(0, t)
    cohort = populations.gather(problem.population, ids, present)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), programs.ROUNDS), t)
    heard = np.asarray(hearing(cohort, jax.random.split(key)[0], NEIGHBOURS, N))
    return {int(i): [int(ids[j]) for j in np.flatnonzero(row)] for i, row in zip(ids, heard, strict=True)}


def twin_state(clients):
    def of_each(tree):
        return [problems.one_client(tree, k) for k in range(N)]

    return {
        "w": of_each(clients.variables),
        "shared": of_each(clients.shared),
        "mask": of_each(clients.mask),
    }


def test_three_rounds_agree_with_the_twin():
    problem = problems.setting(
        rounds=ROUNDS, cohort_size=5, clip_norm=0.5, weight_decay=1e-2, lr_schedule="decay:0.998"
    )
    algorithm = toy.algorithm("dispfl", problem, growth="gradient", neighbours=NEIGHBOURS)
    grad = problems.gradient(problem)
    (_, clients, _), *after = problems.rounds_of(algorithm, problem, ROUNDS)
    state = twin_state(clients)
    start = state["mask"]
    for t, (_, clients, metrics) in enumerate(after):
        heard = {k: v for k, v in heard_in(problem, t + 1).items() if k in problems.cohort(problem, t + 1)}
        state, _ = twin.dispfl_round(
            state,
            t,
            ROUNDS,
            heard,
            grad=grad,
            scores=lambda k, params: [np.abs(g) for g in grad(k, params, 0)],
            steps=2,
            lr=0.1 * 0.998**t,
            decay=1e-2,
            clip=0.5,
        )
        for name, values in twin_state(clients).items():
            for k in range(N):
                problems.close(values[k], state[name][k])
        living = sum(int(mask.sum()) for mask in start[0])
        np.testing.assert_array_equal(metrics.down.values, [NEIGHBOURS * living] * 5)
        np.testing.assert_array_equal(metrics.down.mask_bits, [NEIGHBOURS * SIZE] * 5)
        assert metrics.up.values.sum() == metrics.down.values.sum()
    assert any((a != b).any() for a, b in zip(start[0], state["mask"][0], strict=True))


def test_masks_keep_their_counts_when_they_grow_at_random():
    problem = problems.setting(rounds=ROUNDS, cohort_size=N)
    densities = twin.erk(list(SHAPES.values()), 0.5)
    expected = [int(round(d * math.prod(s), 6)) for d, s in zip(densities, SHAPES.values(), strict=True)]
    np.testing.assert_array_equal(allocation.erk_whole_part(SHAPES, 0.5), expected)
    *_, before, (_, clients, _) = problems.rounds_of(toy.algorithm("dispfl", problem), problem, ROUNDS)
    for k in range(N):
        for masks in (clients.shared, clients.mask):
            assert [int(leaf.sum()) for leaf in problems.one_client(masks, k)] == expected
        model, shared = problems.one_client(clients.variables, k), problems.one_client(clients.shared, k)
        assert not any(w[~m].any() for w, m in zip(model, shared, strict=True))
    assert any(
        (a != b).any() for a, b in zip(*map(problems.leaves, (before[1].mask, clients.mask)), strict=True)
    )


def test_dense_and_with_all_others_it_is_the_plain_mean_then_local_training():
    problem = problems.setting(rounds=ROUNDS, cohort_size=N)
    uniform = problem._replace(population=problem.population._replace(weight=np.ones(N)))
    algorithm = toy.algorithm("dispfl", problem, sparsity=0.0, neighbours=N)
    *_, (_, clients, _) = problems.rounds_of(algorithm, problem, 2)
    *_, (fedavg, _, _) = problems.rounds_of(toy.algorithm("fedavg", uniform), uniform, 2)
    models = [problems.one_client(clients.variables, k) for k in range(N)]
    problems.close(mean(models), problems.leaves(fedavg.variables))
    assert all(m.all() for m in dense(models[0]))


def test_each_client_hears_so_many_others_of_those_present_and_itself():
    ids, present = np.asarray([1, 4, 6, 2, 0, N]), np.asarray([True, True, False, True, True, False])
    cohort = populations.gather(problems.setting().population, ids, present)
    heard = np.asarray(hearing(cohort, jax.random.key(3), 2, N))
    np.testing.assert_array_equal(heard.sum(axis=1), [3, 3, 3, 3, 3, 1])
    assert heard.diagonal().all()
    assert not heard[[0, 1, 3, 4]][:, [2, 5]].any()  # the absent and the empty place
    order = jnp.asarray([3, 4, 0, 5, 2, 1])
    moved = populations.gather(problems.setting().population, ids[order], present[order])
    np.testing.assert_array_equal(hearing(moved, jax.random.key(3), 2, N), heard[order][:, order])
