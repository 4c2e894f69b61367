"""An algorithm under test: its programs on the toy problem, compiled once for all checks of the contract."""

from __future__ import annotations

import functools
import gc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.clients.state_store import StateStore, make_state_store
from fedjax_sparse.data import population as populations
from fedjax_sparse.simulation import driver, programs
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.testing import toy
from fedjax_sparse.types import Algorithm, Metrics, State

N = len(toy.SIZES)
PLACES = 6
IDS, PRESENT = np.asarray([1, 4, 6, 2, N, N]), np.asarray([True, True, False, True, False, False])


class Cut(NamedTuple):
    """A way to cut a cohort: clients that a device trains at once, and devices."""

    chunk: int
    devices: int


CUTS = {
    "one by one": Cut(chunk=1, devices=1),
    "chunks of four, padded": Cut(chunk=4, devices=1),
    "chunks of two, padded, on two devices": Cut(chunk=2, devices=2),
}


class Subject(NamedTuple):
    """An algorithm under test: its round as one program, for one way to cut a cohort, and where it starts.

    Where it prepares before round 1, that has been done, and this is what it reported.
    """

    name: str
    setting: Setting
    algorithm: Algorithm
    round: Any
    start: State
    preparation: Any
    store: StateStore

    def client(self, stored: Any, i: int = 0) -> Any:
        """The state of client i, from the stored states of all."""
        one = self.store.gather(jax.tree.map(jnp.asarray, stored), jnp.asarray([i]))
        return jax.tree.map(lambda leaf: leaf[0], one)


@functools.cache
def compiled(name: str, cut: str = "one by one") -> Subject:
    """The algorithm of that name, its cohorts cut in one of the `CUTS`."""
    setting = toy.setting(cohort_size=PLACES, **CUTS[cut]._asdict())
    algorithm = toy.algorithm(name, setting)
    store = make_state_store(algorithm.init_client, jax.eval_shape(setting.model.init, jax.random.key(0)), N)
    population = jax.tree.map(jnp.asarray, setting.population)

    def round_fn(server, stored, ids, present, t, key):
        cohort = populations.gather(population, ids, present)
        state = State(server, store.gather(stored, cohort.id))
        new, metrics = algorithm.round(state, cohort, t, jax.random.fold_in(key, t))
        return State(new.server, store.scatter(stored, cohort.id, new.client)), metrics

    if cut != "one by one" and algorithm.prepare is None:
        start, preparation = compiled(name).start, None
    else:
        begin = programs.compile_program(algorithm, setting).start
        state, preparation = jax.tree.map(lambda leaf: leaf[0], begin(population, np.asarray([5], np.int32)))
        # Where devices share the clients' states, places of nobody even out their shares.
        start = State(state.server, jax.tree.map(lambda leaf: leaf[:N], state.clients))
    return Subject(name, setting, algorithm, jax.jit(round_fn), start, preparation, store)


def one_round(
    subject: Subject, ids: Any = IDS, present: Any = PRESENT, state: State | None = None, t: int = 1
) -> tuple[State, Metrics]:
    """One round of six places, from where the subject starts or another state: (state, metrics)."""
    state = subject.start if state is None else state
    ids, present, t = jnp.asarray(ids, jnp.int32), jnp.asarray(present), jnp.int32(t)
    return subject.round(state.server, state.client, ids, present, t, jax.random.key(9))


@functools.cache
def _run_of_two(name: str) -> tuple[Algorithm, Setting, programs.Program]:
    """A whole run of two seeds, compiled once whichever they are."""
    setting = toy.setting(chunk=1, dropout=0.2)
    algorithm = toy.algorithm(name, setting)
    return algorithm, setting, programs.compile_program(algorithm, setting, seeds=2)


@functools.cache
def history(name: str, seeds: tuple[int, int]):
    """States, rows and ledgers of both seeds after each round of a whole run."""
    algorithm, setting, program = _run_of_two(name)
    states: list[Any] = []
    rows: list[Any] = []
    ledgers: list[Any] = []
    for progress in driver.run(algorithm, setting, seeds, evaluate_at=lambda t: t > 0, program=program):
        states.append(jax.device_get(progress.state))
        rows.append(
            [row and {key: row[key] for key in row if key != "wall_seconds"} for row in progress.rows]
        )
        ledgers.append(progress.ledgers)
    return states, rows, ledgers


def forget() -> None:
    """Frees the programs of all subjects."""
    compiled.cache_clear()
    _run_of_two.cache_clear()
    history.cache_clear()
    gc.collect()
