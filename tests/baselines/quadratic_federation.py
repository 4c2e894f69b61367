"""The twins' quadratics as a federation, on which the library trains what a twin trains: the same draws, data, steps.

Client k's loss at its local step j is x.A_k x / 2 + b_kj.x with A_k, b_kj read off the twin's own gradient function,
which is affine in x. All examples of a client are alike, so that the order in which they come does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fedjax_sparse.config.run_config import make_sections
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.models import model as models
from fedjax_sparse.simulation.setting import Setting, make_setting
from fedjax_sparse.types import Algorithm, Metrics, State, Variables
from tests import toy

STEPS = 10  # most local steps of a round
Shapes = dict[str, tuple[int, ...]]
ONE: Shapes = {"w": (1,)}
TWO_LEAVES: Shapes = {"bias": (2,), "kernel": (3, 2)}  # in leaf order, the order of the flat vector


class Run(NamedTuple):
    """An algorithm and where it stands.

    Attributes:
        setting: Of the federation.
        algorithm: As the registry builds it.
        round: (state, ids, present, t, key) -> (state, metrics), jitted; client states have a leading axis N.
        state: Before round 1.
    """

    setting: Setting
    algorithm: Algorithm
    round: Callable[..., tuple[State, Metrics]]
    state: State

    def after(self, cohorts: Sequence[Sequence[int]]) -> list[tuple[State, Metrics]]:
        """State and metrics after each round."""
        history, state = [], self.state
        for t, cohort in enumerate(cohorts, start=1):
            state, metrics = self.step(state, cohort, t)
            history.append((state, metrics))
        return history

    def step(self, state: State, cohort: Sequence[int], t: int) -> tuple[State, Metrics]:
        """One round; places that are left over are empty."""
        clients = self.setting.federation.population
        ids = np.full(clients, clients)
        ids[: len(cohort)] = cohort
        return self.round(state, jnp.asarray(ids), jnp.asarray(ids < clients), jnp.int32(t), round_key(t))


def round_key(t: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(7), t)


def client_key(t: int, client: int) -> jax.Array:
    """The key that a client's work gets in round t."""
    return jax.random.fold_in(round_key(t), client)


def flat(tree: Any) -> np.ndarray:
    """All leaves as one vector, in leaf order."""
    return np.asarray(ravel_pytree(tree)[0])


def rows(clients: Any) -> np.ndarray:
    """f[N, d]: the states of all clients."""
    return np.stack([np.asarray(row) for row in jax.vmap(lambda tree: ravel_pytree(tree)[0])(clients)])


def federation(
    grad: Callable[..., np.ndarray], sizes: Sequence[int], shapes: Shapes, **options: Any
) -> Setting:
    """Full batches of one pass, uniform weights, or other options of a run; a client of n examples holds n rows."""
    clients, d = len(sizes), sum(int(np.prod(shape)) for shape in shapes.values())
    slope, offset = affine(grad, clients, d)
    ids = np.repeat(np.arange(clients, dtype=np.int32), sizes)
    x = np.zeros((len(ids), 1))
    data = Dataset("quadratics", x, ids, x[:1], ids[:1], "classification", clients)
    population = populations.build(
        data.x_train,
        data.y_train,
        np.split(np.arange(len(ids)), np.cumsum(sizes)[:-1]),
    )
    model = models.build("softmax", (1,), clients, dtype=jnp.float64)
    defaults = {
        "rounds": 10,
        "cohort_size": clients,
        "weighting": "uniform",
        "local_epochs": 1,
        "batch_size": max(sizes),
        "client_lr": 0.1,
    }
    setting = make_setting(data, model, population, **make_sections(defaults | options))

    def loss(variables, batch):
        x, client = ravel_pytree(variables.params)[0], batch.y[0]
        return x @ slope[client] @ x / 2 + offset[client, batch.step] @ x, ()

    params = {name: jax.ShapeDtypeStruct(shape, jnp.float64) for name, shape in shapes.items()}
    kinds = {name: "kernel" if len(shape) > 1 else "bias" for name, shape in shapes.items()}
    return setting._replace(federation=setting.federation._replace(loss=loss, params=params, kinds=kinds))


def affine(grad: Callable[..., np.ndarray], clients: int, d: int) -> tuple[jax.Array, jax.Array]:
    """A[N, d, d] and b[N, STEPS, d] of a gradient A_k x + b_kj."""
    at_zero = [[grad(k, np.zeros(d), step) for step in range(STEPS)] for k in range(clients)]
    slopes = [np.stack([grad(k, e, 0) - at_zero[k][0] for e in np.eye(d)], axis=1) for k in range(clients)]
    return jnp.asarray(slopes), jnp.asarray(at_zero)


def start(name: str, setting: Setting, x: np.ndarray, **hyper: Any) -> Run:
    """The algorithm of that name before round 1, at the model x."""
    algorithm = toy.algorithm(name, setting, **hyper)
    population = jax.tree.map(jnp.asarray, setting.population)
    shapes = setting.federation.params
    template = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    variables = Variables(ravel_pytree(template)[1](jnp.asarray(x)))

    @jax.jit
    def round_fn(state, ids, present, t, key):
        cohort = populations.gather(population, ids, present)
        kept = jax.tree.map(lambda leaf: leaf.at[cohort.id].get(mode="clip"), state.client)
        new, metrics = algorithm.round(State(state.server, kept), cohort, t, key)
        scattered = jax.tree.map(
            lambda old, row: old.at[cohort.id].set(row, mode="drop"), state.client, new.client
        )
        return State(new.server, scattered), metrics

    one = algorithm.init_client(variables, jax.random.key(0))
    clients = jax.tree.map(lambda leaf: jnp.stack([leaf] * setting.federation.population), one)
    return Run(setting, algorithm, round_fn, State(algorithm.init(variables, jax.random.key(0)), clients))
