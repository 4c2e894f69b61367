"""The toy problem in NumPy, written out: its network, its gradient and local training, for slow twins in float64.

`rounds_of` runs the library's side, round after round.

Twins train on whole clients (a batch holds all of a client's examples), so that no order of examples matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from fedjax_sparse.simulation import driver, programs
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm
from tests import toy

Params = dict[str, np.ndarray]  # w1[4, 5], b1[5], w2[5, 3], b2[3]
NAMES = ("b1", "w1", "b2", "w2")  # the order of the library's leaves
WHOLE = max(toy.SIZES)  # a batch that holds any client


def from_tree(tree) -> Params:
    """The twin's parameters, or masks, from the library's."""
    first, second = tree["Dense_0"], tree["Dense_1"]
    leaves = (first["bias"], first["kernel"], second["bias"], second["kernel"])
    return {name: np.array(leaf) for name, leaf in zip(NAMES, leaves, strict=True)}


def flat(params: Params) -> np.ndarray:
    """All entries in the library's order."""
    return np.concatenate([params[name].ravel() for name in NAMES])


def unflat(vector: np.ndarray, like: Params) -> Params:
    """The inverse of `flat`."""
    ends = np.cumsum([like[name].size for name in NAMES])[:-1]
    return {
        name: part.reshape(like[name].shape) for name, part in zip(NAMES, np.split(vector, ends), strict=True)
    }


def client_data(setting: Setting, i: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples of client i."""
    population = setting.population
    rows = np.asarray(population.index[i])[: int(population.count[i])]
    return np.asarray(population.pool.x)[rows], np.asarray(population.pool.y)[rows]


def cross_entropy_slope(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient of the mean cross-entropy with respect to the logits."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return (shifted / shifted.sum(1, keepdims=True) - np.eye(logits.shape[1])[y]) / len(y)


def gradient(w: Params, x: np.ndarray, y: np.ndarray, slope: Callable = cross_entropy_slope) -> Params:
    """Back-propagation by hand; `slope` is the loss's gradient with respect to the logits."""
    before = x @ w["w1"] + w["b1"]
    hidden = np.maximum(before, 0)
    at_logits = slope(hidden @ w["w2"] + w["b2"], y)
    at_hidden = (at_logits @ w["w2"].T) * (before > 0)
    return {"b1": at_hidden.sum(0), "w1": x.T @ at_hidden, "b2": at_logits.sum(0), "w2": hidden.T @ at_logits}


def local_sgd(
    w: Params,
    mask: Params,
    data: tuple[np.ndarray, np.ndarray],
    *,
    steps: int,
    rate: float = 0.1,
    momentum: float = 0.0,
    nesterov: bool = False,
    velocity: Params | None = None,
    decay: float = 0.0,
    clip: float = np.inf,
    clip_living: bool = False,
) -> Params:
    """Whole-batch steps, w = mask * (w - rate * velocity); the norm is clipped before the decay is added.

    A velocity that is given is where they go on from, and is updated in place.
    """
    velocity = {} if velocity is None else velocity
    for _ in range(steps):
        g = gradient(w, *data)
        if clip_living:
            g = {name: g[name] * mask[name] for name in NAMES}
        norm = np.sqrt(sum((leaf**2).sum() for leaf in g.values()))
        shrink = min(1.0, clip / norm)
        for name in NAMES:
            g[name] = shrink * g[name] + decay * w[name]
            velocity[name] = momentum * velocity.get(name, 0.0) + g[name]
        ahead = {name: g[name] + momentum * velocity[name] for name in NAMES} if nesterov else velocity
        w = {name: mask[name] * (w[name] - rate * ahead[name]) for name in NAMES}
    return w


def weighted_mean(models: list[Params], weights: np.ndarray) -> Params:
    """Sum_i p_i w_i."""
    shares = weights / weights.sum()
    return {name: np.tensordot(shares, [w[name] for w in models], 1) for name in NAMES}


def the_largest(scores: np.ndarray, alive: np.ndarray, keep: int) -> np.ndarray:
    """Marks the `keep` largest scores among the living, by a stable sort."""
    order = np.argsort(-np.where(alive, scores, -np.inf), kind="stable")
    chosen = np.zeros(len(scores), bool)
    chosen[order[:keep]] = True
    return chosen & alive


def rounds_of(
    algorithm: Algorithm, setting: Setting, rounds: int, seed: int = 0
) -> Iterator[tuple[Any, Any]]:
    """The server's state before round 1 with the metrics of preparing it, then both after each round."""
    program = programs.compile_program(algorithm, setting)
    seeds = np.asarray([seed], np.int32)
    state, metrics = program.begin(setting.population, seeds)
    for t in range(1, rounds + 2):
        # Copied, for the state is given up when the next round is asked for.
        yield jax.tree.map(lambda leaf: np.array(leaf[0]), (state.server, metrics))
        if t <= rounds:
            ids, present = driver.draw_cohorts(setting, [seed], t, t)
            state, history = program.block(state, setting.population, ids, present, t, 1, seeds)
            metrics = jax.tree.map(lambda leaf: leaf[:, 0], history)
