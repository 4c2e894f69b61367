"""FedTiny and FedRTS, whose server moves the mask, against their twins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.baselines import fedrts
from fedjax_sparse.simulation import programs
from fedjax_sparse.sparsity import saliency
from tests import toy
from tests.algorithms import mlp_twin
from tests.baselines import fedrts_twin, fedtiny_twin, static_masks_twin
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


def seen_around(center, batch):
    return batch._replace(x=batch.x - jnp.broadcast_to(center, batch.x.shape))


def with_running_mean(problem):
    """The problem, whose model sees its inputs around their mean: in a batch, or when tested the running one."""
    plain = problem.federation

    def loss(variables, batch):
        center = jnp.sum(batch.x * batch.mask[:, None], axis=0) / jnp.sum(batch.mask)
        value, _ = plain.loss(variables._replace(stats=()), seen_around(center, batch))
        return value, 0.9 * variables.stats + 0.1 * center

    def loss_of(example_loss, train):
        tested = plain.loss_of(example_loss, train=train)
        return lambda variables, batch: tested(
            variables._replace(stats=()), seen_around(variables.stats, batch)
        )

    def init(key):
        return problem.model.init(key)._replace(stats=jnp.zeros(4))

    return problem._replace(
        federation=plain._replace(loss=loss, loss_of=loss_of, stats_size=4),
        model=problem.model._replace(init=init),
    )


def cross_entropy(params, x, y):
    b1, w1, b2, w2 = params
    logits = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]))


def test_clients_choose_among_masks_as_the_twins_do():
    problem = problems.setting()
    algorithm = toy.algorithm("fedtiny", with_running_mean(problem), candidates=6, **HYPER)
    ((server, clients, metrics),) = problems.rounds_of(algorithm, with_running_mean(problem), 0)
    draw_key = jax.random.split(jax.random.fold_in(jax.random.key(0), programs.PREPARE), 3)[0]
    scores = [
        problems.leaves(saliency.random(k, problem.federation.params)) for k in jax.random.split(draw_key, 6)
    ]
    initial, data = (
        problems.initial(problem),
        [mlp_twin.client_data(problem, k) for k in range(problems.CLIENTS)],
    )
    candidates = [static_masks_twin.start(initial, drawn, PRUNABLE, 0.4, "uniform") for drawn in scores]
    best, _ = fedtiny_twin.choose(
        lambda client, candidate: [0.1 * data[client][0].mean(0)],
        lambda client, candidate, mean: cross_entropy(
            candidates[candidate][0], data[client][0] - mean[0], data[client][1]
        ),
        6,
        range(problems.CLIENTS),
        toy.SIZES,
    )
    problems.close(problems.leaves(server.mask), candidates[best][1])
    problems.close(problems.leaves(server.variables.params), candidates[best][0])
    assert (clients.known == 0).all()
    np.testing.assert_array_equal(metrics.up.values, 6 * (1 + 4))
    np.testing.assert_array_equal(metrics.down.values, 6 * (14 + DENSE + 2 * 4))
    np.testing.assert_array_equal(metrics.work.examples, 2 * 6 * np.asarray(toy.SIZES))


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
