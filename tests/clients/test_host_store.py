"""Client states in the host's memory: the numbers of the device's store, and rows that never go stale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.clients import host_store
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.programs import RunState
from tests import toy

N = 5


def stored() -> dict[str, np.ndarray]:
    """Two seeds of five clients that keep a number and eight bits."""
    return {
        "number": np.arange(2.0 * N).reshape(2, N),
        "bits": np.arange(2 * N, dtype=np.uint8).reshape(2, N, 1),
    }


def test_rows_come_and_go_and_empty_places_are_dropped():
    states, ids = stored(), np.asarray([[4, N, 1], [0, 1, N]])
    rows = host_store.gather(states, ids)
    np.testing.assert_array_equal(rows["number"], [[4, 4, 1], [5, 6, 9]])  # an empty place gets anybody's
    host_store.scatter(states, ids, jax.tree.map(lambda row: row + 100, rows))
    np.testing.assert_array_equal(states["number"], [[0, 101, 2, 3, 104], [105, 106, 7, 8, 9]])
    np.testing.assert_array_equal(states["bits"][..., 0], [[0, 101, 2, 3, 104], [105, 106, 7, 8, 9]])


def test_rows_gathered_early_are_read_anew_where_they_changed():
    states, ids = stored(), np.asarray([[4, 2], [0, N]])
    rows = host_store.gather(states, ids)
    states["number"] += 100
    host_store.refresh(rows, states, ids, np.asarray([[2, 3], [1, N]]))
    np.testing.assert_array_equal(rows["number"], [[4, 102], [5, 109]])


def test_a_cohort_is_read_once_for_each_round(monkeypatch):
    """Three rounds of a block of four, each adding one to the clients of its cohort; nobody is read after the last."""
    ids = np.asarray([[[0, 1], [1, 2], [3, 4], [N, N]]] * 2)
    read, gather = [], host_store.gather
    monkeypatch.setattr(
        host_store, "gather", lambda states, i: read.append(i[0].tolist()) or gather(states, i)
    )

    def one_round(state, *_):
        return RunState((), jax.tree.map(lambda leaf: leaf + 1, state.clients)), np.zeros((2, 1))

    state = RunState((), {"number": np.zeros((2, N))})
    after, metrics = host_store.run_block(one_round, state, (), ids, ids < N, 1, 3, (0, 1))
    assert read == [[0, 1], [1, 2], [3, 4], []]
    np.testing.assert_array_equal(after.clients["number"], [[1, 2, 1, 1, 1]] * 2)
    assert metrics.shape == (2, 3)


@pytest.mark.parametrize("at_once", [1, 2, 5, 8])
def test_states_are_made_in_pieces(at_once):
    made = host_store.create(lambda ids: jnp.stack([ids, ids + 10]), N, at_once)
    np.testing.assert_array_equal(made, [np.arange(N), np.arange(N) + 10])


def ranked(state, cohort, key):
    """A preparation of all clients: the first error that each keeps is its rank."""
    errors = jax.tree.map(
        lambda leaf: leaf + cohort.id.reshape(-1, *(1,) * (leaf.ndim - 1)).astype(leaf.dtype), state.client
    )
    return state._replace(client=errors), None


def outcome(seeds: tuple[int, ...], resume: bool = False, prepare=None, **options):
    """The last state and rows of FLARE, whose clients keep an error, with clients that meet again and drop out."""
    setting = toy.setting(chunk=1, cohort_size=5, dropout=0.3, **options)
    algorithm = toy.algorithm("flare", setting)._replace(prepare=prepare)
    run = functools.partial(driver.run, algorithm, setting, seeds, evaluate_at=driver.every(2))
    start = None
    if resume:
        first = next(progress for progress in run() if progress.round)
        start = driver.Resume(first.round, jax.device_get(first.state), first.ledgers)
    *_, last = run(resume=start)
    rows = [row and {key: row[key] for key in row if key != "wall_seconds"} for row in last.rows]
    return jax.device_get(last.state), rows


@pytest.mark.parametrize(
    ("seeds", "count", "prepare"), [((0,), 1, None), ((0, 1), 2, None), ((0, 1), 2, ranked)]
)
def test_where_states_lie_changes_only_rounding(seeds, count, prepare):
    with jax.enable_x64(True):
        on_host = outcome(seeds, prepare=prepare, state_store="host", devices=count)
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(on_host[0].clients))
        toy.leaves_close(on_host, outcome(seeds, prepare=prepare))


def test_a_run_goes_on_bit_for_bit_from_states_on_the_host():
    whole, resumed = (outcome((0,), resume, dtype=np.float32, state_store="host") for resume in (False, True))
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
