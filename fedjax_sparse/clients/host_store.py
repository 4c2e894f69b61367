"""The states of N clients in the host's memory, where they do not fit on the device.

Stored are NumPy arrays [K, N, ...] (K seeds), packed as on the device; only the rows of a cohort travel. Ids are
i32[K, C], in which N stands for an empty place.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fedjax_sparse.types import PyTree


def run_block(
    one_round: Callable,
    state: Any,
    population: PyTree,
    ids: Any,
    present: Any,
    first: int,
    rounds: int,
    seeds: Any,
) -> tuple[Any, PyTree]:
    """Runs rounds one by one; while the device works on one, the rows of the next are gathered.

    Args:
        one_round: A block of one round, whose `state.clients` are the rows of its cohort.
        state: With the stored states as `clients`; they are changed in place.
        population: As of a block on the device, like the other arguments.
        ids: i32[K, R, C].
        present: bool[K, R, C].
        first: The number of the first round.
        rounds: How many of the R rounds are run.
        seeds: i32[K].

    Returns:
        The state, and metrics with leading axes [K, rounds].
    """
    stored, history = state.clients, []
    rows = gather(stored, ids[:, 0])
    for i in range(rounds):
        here = slice(i, i + 1)
        arguments = population, ids[:, here], present[:, here], np.int32(first + i), np.int32(1), seeds
        state, metrics = one_round(state._replace(clients=rows), *arguments)
        history.append(metrics)
        following = ids[:, i + 1] if i + 1 < rounds else ids[:, i, :0]  # nobody's after the last
        rows = gather(stored, following)
        scatter(stored, ids[:, i], jax.device_get(state.clients))
        refresh(rows, stored, following, ids[:, i])
    metrics = jax.tree.map(lambda *each: np.concatenate(each, axis=1), *jax.device_get(history))
    return state._replace(clients=stored), metrics


def create(rows: Callable[[np.ndarray], PyTree], population: int, at_once: int) -> PyTree:
    """Stores what `rows` makes of every client.

    Args:
        rows: ids i32[n] -> their states [K, n, ...].
        population: N.
        at_once: n, clients whose states are made together on the device.
    """
    shapes = jax.eval_shape(rows, np.zeros(at_once, np.int32))
    if not jax.tree.leaves(shapes):
        return shapes
    stored = jax.tree.map(
        lambda leaf: np.empty((leaf.shape[0], population, *leaf.shape[2:]), leaf.dtype), shapes
    )
    for first in range(0, population, at_once):
        ids = np.arange(first, first + at_once, dtype=np.int32)
        scatter(stored, np.broadcast_to(ids, (jax.tree.leaves(shapes)[0].shape[0], at_once)), rows(ids))
    return stored


def gather(stored: PyTree, ids: np.ndarray) -> PyTree:
    """Rows [K, C, ...]; an empty place gets any client's."""
    return jax.tree.map(
        lambda leaf: np.stack([own.take(i, axis=0, mode="clip") for own, i in zip(leaf, ids, strict=True)]),
        stored,
    )


def scatter(stored: PyTree, ids: np.ndarray, rows: PyTree) -> None:
    """Writes rows [K, C, ...] back, in place; empty places are dropped."""

    def write(leaf: np.ndarray, new: jax.Array) -> None:
        for own, i, row in zip(leaf, ids, np.asarray(new), strict=True):
            own[i[i < len(own)]] = row[i < len(own)]

    jax.tree.map(write, stored, rows)


def refresh(rows: PyTree, stored: PyTree, ids: np.ndarray, changed: np.ndarray) -> None:
    """Reads anew, in place, what was gathered for `ids` before the clients `changed` were written back."""

    def read(row: np.ndarray, leaf: np.ndarray) -> None:
        for mine, own, i, late in zip(row, leaf, ids, changed, strict=True):
            again = np.isin(i, late)
            mine[again] = own.take(i[again], axis=0, mode="clip")

    jax.tree.map(read, rows, stored)
