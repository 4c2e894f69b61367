"""The toy problem as the twins of the personalised baselines take it: lists of leaves, whole clients in each batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.models import model as models
from fedjax_sparse.simulation import driver, programs
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm
from tests import toy
from tests.algorithms import mlp_twin
from tests.baselines.personal_twin import Accuracy, Gradient, Params

PRUNABLE = [False, True, False, True]  # the leaves in the library's order, `mlp_twin.NAMES`
CLIENTS = len(toy.SIZES)


def setting(**options: Any) -> Setting:
    """A local step sees all that a client holds, so that no order of examples matters and an epoch is a step.

    Biases start at random like weights, so that no two entries tie.
    """
    problem = toy.setting(**{"batch_size": mlp_twin.WHOLE, **options})
    model = models.build("mlp", (4,), 3, dtype=jnp.float64, hidden=(5,), init="torch")
    return problem._replace(model=model)


def leaves(tree: Any) -> Params:
    """The twin's parameters, or masks, from the library's."""
    return [np.array(leaf) for leaf in jax.tree.leaves(tree)]


def initial(problem: Setting) -> Params:
    """The model before anything, of seed 0."""
    model_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), programs.INIT))
    return leaves(problem.model.init(model_key).params)


def round_key(t: int) -> jax.Array:
    """The key of round t, of seed 0."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(0), programs.ROUNDS), t)


def one_client(tree: Any, k: int) -> Params:
    """Those of client k, from a tree with a leading axis over all."""
    return [leaf[k] for leaf in leaves(tree)]


def gradient(problem: Setting) -> Gradient:
    """The gradient on all examples of a client, by hand."""

    def grad(client: int, params: Params, step: int) -> Params:
        del step
        named: mlp_twin.Params = dict(zip(mlp_twin.NAMES, params, strict=True))
        found = mlp_twin.gradient(named, *mlp_twin.client_data(problem, client))
        return [found[name] for name in mlp_twin.NAMES]

    return grad


def accuracy(problem: Setting) -> Accuracy:
    """The share of its examples that a client's model gets right."""

    def of(client: int, params: Params) -> float:
        x, y = mlp_twin.client_data(problem, client)
        b1, w1, b2, w2 = params
        return float(np.mean(np.argmax(np.maximum(x @ w1 + b1, 0) @ w2 + b2, axis=1) == y))

    return of


def cohort(problem: Setting, t: int) -> list[int]:
    """Who takes part in round t of a run with seed 0, in ascending order."""
    ids, present = problem.sampler.draw(0, t)
    return sorted(int(i) for i in ids[present])


def rounds_of(algorithm: Algorithm, problem: Setting, rounds: int) -> Iterator[tuple[Any, Any, Any]]:
    """Server, states of all clients and metrics, before round 1 (without metrics) and after each round; seed 0."""
    program = programs.compile_program(algorithm, problem)
    seeds = np.asarray([0], np.int32)
    state, metrics = program.begin(problem.population, seeds)
    for t in range(1, rounds + 2):
        server, stored, metrics = jax.tree.map(lambda leaf: leaf[0], (state.server, state.clients, metrics))
        clients = program.store.gather(stored, jnp.arange(CLIENTS))
        # Copied, for the state is given up when the next round is asked for.
        yield jax.tree.map(np.array, (server, clients, metrics))
        if t <= rounds:
            ids, present = driver.draw_cohorts(problem, [0], t, t)
            state, history = program.block(state, problem.population, ids, present, t, 1, seeds)
            metrics = jax.tree.map(lambda leaf: leaf[:, 0], history)


def close(found: Params, expected: Params) -> None:
    """Equal to rounding, masks exactly."""
    for leaf, other in zip(found, expected, strict=True):
        if leaf.dtype == bool:
            np.testing.assert_array_equal(leaf, other)
        else:
            np.testing.assert_allclose(leaf, other, rtol=1e-12, atol=1e-13)
