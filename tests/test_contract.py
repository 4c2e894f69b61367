"""What every registered algorithm promises, checked from the day it is registered, with no exceptions by name.

All checks of an algorithm share its programs: one jitted round of six places, one run for each way to cut a cohort.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import trees
from fedjax_sparse.clients.state_store import StateStore, make_state_store
from fedjax_sparse.config import registry
from fedjax_sparse.costs import prices
from fedjax_sparse.data import population as populations
from fedjax_sparse.simulation import driver, programs
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm, State
from tests import toy
from tests.conftest import forget_programs

N = len(toy.SIZES)
PLACES = 6
IDS, PRESENT = np.asarray([1, 4, 6, 2, N, N]), np.asarray([True, True, False, True, False, False])


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


CUTS: dict[str, dict[str, int | None]] = {
    "one by one": {"chunk": 1, "devices": 1},
    "chunks of four, padded": {"chunk": 4, "devices": 1},
    "all together": {"chunk": PLACES, "devices": 1},
    "two devices": {"chunk": 1, "devices": 2},
}


class Subject(NamedTuple):
    """An algorithm under test: its round as one program, for one way to cut a cohort, and where it starts.

    Where it prepares before round 1, that has been done, and this is what it reported.
    """

    name: str
    setting: Setting
    algorithm: Algorithm
    round: Callable
    start: State
    preparation: Any
    store: StateStore

    def client(self, stored: Any, i: int = 0) -> Any:
        """The state of client i, from the stored states of all."""
        one = self.store.gather(jax.tree.map(jnp.asarray, stored), jnp.asarray([i]))
        return jax.tree.map(lambda leaf: leaf[0], one)


@functools.cache
def compiled(name: str, cut: str = "one by one") -> Subject:
    chunk, devices = CUTS[cut]["chunk"], CUTS[cut]["devices"]
    setting = toy.setting(cohort_size=PLACES, chunk=chunk, devices=devices)
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
        start = State(*state)
    return Subject(name, setting, algorithm, jax.jit(round_fn), start, preparation, store)


@pytest.fixture(scope="module", params=sorted(registry.algorithms()))
def subject(request) -> Iterator[Subject]:
    yield compiled(request.param)
    compiled.cache_clear()
    history.cache_clear()
    forget_programs()


def one_round(
    subject: Subject, ids: Any = IDS, present: Any = PRESENT, state: State | None = None, t: int = 1
):
    state = subject.start if state is None else state
    ids, present, t = jnp.asarray(ids, jnp.int32), jnp.asarray(present), jnp.int32(t)
    return subject.round(state.server, state.client, ids, present, t, jax.random.key(9))


@functools.cache
def history(name: str, seeds: tuple[int, ...]):
    """States, rows and ledgers after each round of a whole run."""
    setting = toy.setting(chunk=1, dropout=0.2)
    states: list[Any] = []
    rows: list[Any] = []
    ledgers: list[Any] = []
    algorithm = toy.algorithm(name, setting)
    for progress in driver.run(algorithm, setting, seeds, evaluate_at=lambda t: t > 0):
        states.append(jax.device_get(progress.state))
        rows.append(
            [row and {key: row[key] for key in row if key != "wall_seconds"} for row in progress.rows]
        )
        ledgers.append(progress.ledgers)
    return states, rows, ledgers


def test_compiles_once_whatever_the_cohort(subject):
    state = subject.start
    for t in range(1, toy.ROUNDS + 1):
        ids = np.asarray([t, 0, 6, N, N, N])
        state, _ = one_round(subject, ids, ids < 4 + t % 2, state, t)
    one_round(subject)
    assert subject.round._cache_size() == 1


def test_is_pure(subject):
    before = jax.device_get(subject.start)
    first, again = one_round(subject), one_round(subject)
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(subject.start))
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_keeps_structure_shapes_and_dtypes(subject):
    describe = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    state, metrics = one_round(subject)
    assert describe(state) == describe(subject.start)
    leaves = len(jax.tree.leaves(subject.setting.federation.params))
    for counts in (*metrics.up, *metrics.down, metrics.work.examples, metrics.work.steps):
        assert (counts.shape, counts.dtype) == ((PLACES,), jnp.int32)
    for counts in metrics.work[2:]:
        assert (counts.shape, counts.dtype) == ((PLACES, leaves), jnp.int32)
    assert metrics.loss.shape == (PLACES,)
    assert all(value.shape in ((), (PLACES,)) for value in metrics.log.values())


def test_order_of_the_cohort_does_not_matter(subject):
    order = np.asarray([3, 4, 0, 5, 2, 1])
    state, metrics = one_round(subject)
    shuffled, shuffled_metrics = one_round(subject, IDS[order], PRESENT[order])
    toy.leaves_close(shuffled, state)
    toy.leaves_close(shuffled_metrics.loss, metrics.loss[order])
    toy.leaves_close(shuffled_metrics.up, jax.tree.map(lambda leaf: leaf[order], metrics.up))


def test_empty_and_dropped_places_change_nothing(subject):
    state, metrics = one_round(subject)
    without, _ = one_round(subject, np.where(PRESENT, IDS, N), PRESENT)
    toy.leaves_close(without, state)
    for counts in (*metrics.up, metrics.work.examples, metrics.work.steps):
        assert not np.asarray(counts)[~PRESENT].any()
    sizes = np.asarray(metrics.down.size)
    assert sizes[2] == sizes[0]  # dropped, but invited
    assert (sizes[0] > 0) == registry.entry(subject.name).communicates
    assert not np.asarray(metrics.down.size)[IDS == N].any()


def test_states_of_clients_outside_the_cohort_stay(subject):
    state, _ = one_round(subject)
    outside = np.setdiff1d(np.arange(N), IDS[PRESENT])
    for before, after in zip(
        jax.tree.leaves(subject.start.client), jax.tree.leaves(state.client), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(before)[outside], np.asarray(after)[outside])


def test_nobody_comes(subject):
    """The model stands still but for what the round itself prunes; nothing becomes NaN."""
    state, metrics = one_round(subject, IDS, np.zeros(PLACES, bool))
    assert trees.all_finite(
        [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    )
    assert not np.asarray(metrics.up.size).any()
    someone = subject.client(state.client)
    before = subject.algorithm.model(subject.start.server, someone)
    after = subject.algorithm.model(state.server, someone)
    for old, new in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_array_equal(new, np.where(np.asarray(new) != 0, old, 0))


def test_a_client_is_the_same_wherever_it_stands(subject):
    first, _ = one_round(subject, [4, N, N, N, N, N], [True] + [False] * 5)
    last, _ = one_round(subject, [N, N, N, N, N, 4], [False] * 5 + [True])
    toy.leaves_close(first, last)


@pytest.mark.parametrize("cut", [cut for cut in CUTS if cut != "one by one"])
def test_the_cut_changes_only_rounding(subject, cut):
    other = compiled(subject.name, cut)
    here, there = subject.start, other.start
    toy.leaves_close((there, other.preparation), (here, subject.preparation))
    for t in (1, 2):
        here, metrics = one_round(subject, IDS, PRESENT, here, t)
        there, other_metrics = one_round(other, IDS, PRESENT, there, t)
        toy.leaves_close(there, here)
        toy.leaves_close(other_metrics, metrics)


def test_seeds_run_together_as_they_run_alone(subject):
    states, rows, _ = history(subject.name, (3,))
    together, together_rows, _ = history(subject.name, (8, 3))
    toy.leaves_close(jax.tree.map(lambda leaf: leaf[1:], together[-1]), states[-1])
    assert together_rows[-1][1].keys() == rows[-1][0].keys()
    np.testing.assert_allclose(list(together_rows[-1][1].values()), list(rows[-1][0].values()), rtol=1e-12)
    # After the first round: in the last one, pruning may have left two models that both say nothing.
    assert together_rows[0][0]["global_test_loss"] != rows[0][0]["global_test_loss"]


def test_everything_stays_finite(subject):
    states, rows, ledgers = history(subject.name, (3,))
    floats = [leaf for leaf in jax.tree.leaves(states[-1]) if np.issubdtype(leaf.dtype, np.floating)]
    assert all(np.isfinite(leaf).all() for leaf in floats)
    assert all(np.isfinite(value) for row in rows[-1] for value in row.values())
    assert ledgers[-1][0].diverged_at is None


def test_what_is_declared_sparse_is_sparse_after_every_round(subject):
    states, _, _ = history(subject.name, (3,))
    declared = {promise.what: promise for promise in subject.algorithm.declared}
    assert set(declared) == set(registry.entry(subject.name).sparse)
    for t, state in enumerate(states, start=1):
        server, clients = jax.tree.map(lambda leaf: leaf[0], state)
        deployed = subject.algorithm.model(server, subject.client(clients))
        own = subject.algorithm.server_model(server) if subject.algorithm.server_model else deployed
        for what, variables in (("deployed", deployed), ("server", own)):
            if what in declared and declared[what].kept is not None:
                nonzero = prunable_nonzero(variables.params, declared[what].prunable)
                assert nonzero <= declared[what].kept(t)
                # Biases start at zero; an entry that lives need not have moved, so only kernels are counted exactly.
                if declared[what].how == "exact" and t > 1:
                    assert nonzero == declared[what].kept(t)
        if "personal" in declared and declared["personal"].kept is not None:
            for i in range(N):
                own = subject.algorithm.model(server, subject.client(clients, i))
                nonzero = prunable_nonzero(own.params, declared["personal"].prunable)
                assert nonzero <= declared["personal"].kept(t)


def prunable_nonzero(params: Any, prunable: Any) -> int:
    counts = jax.tree.map(lambda leaf, here: int(np.count_nonzero(leaf)) if here else 0, params, prunable)
    return sum(jax.tree.leaves(counts))


def examples_of(steps: np.ndarray, held: np.ndarray) -> np.ndarray:
    """How many examples so many steps pass through, in batches of three of which the last of a pass may be smaller."""
    passes, rest = np.divmod(steps, -(-held // 3))
    return passes * held + np.minimum(3 * rest, held)


def test_what_is_declared_of_uploads_is_sent(subject):
    _, metrics = one_round(subject)
    for promise in subject.algorithm.declared:
        if promise.what == "upload":
            dense = metrics.up.size - metrics.up.universe
            values = np.asarray(metrics.up.values - dense)[PRESENT]
            # The receiver knows every place where all are taken, or where a mask or a seed came beside the values.
            known = (values == metrics.up.universe[PRESENT]) | (metrics.up.mask_bits[PRESENT] > 0)
            np.testing.assert_array_equal(metrics.up.located[PRESENT], np.where(known, 0, values))
            if promise.kept is not None:
                assert (values <= promise.kept(1)).all()
                if promise.how == "exact":
                    assert (values == promise.kept(1)).all()


def test_costs_equal_a_recount(subject):
    """Bytes and FLOPs of a round, counted again from the model that was sent and the sizes of the clients."""
    _, metrics = one_round(subject)
    metrics = jax.device_get(metrics)
    federation, model = subject.setting.federation, subject.setting.model
    sizes = trees.sizes(federation.params)
    assert metrics.down.size[0] >= sum(sizes) * registry.entry(subject.name).communicates
    expected = examples_of(metrics.work.steps[PRESENT], np.asarray(toy.SIZES)[IDS[PRESENT]])
    np.testing.assert_array_equal(metrics.work.examples[PRESENT], expected)
    uses, input_grad = jax.tree.leaves(model.uses), jax.tree.leaves(model.input_grad)
    sparse, dense = prices.flops(metrics.work, uses, input_grad, sizes)
    by_hand = 2 * int(expected.sum()) * (4 * 5 * 2 + 5 * 3 * 3)
    assert dense == by_hand
    assert 0 < sparse <= dense
    for message in (metrics.up, metrics.down):
        assert (message.values <= message.size).all()
        assert (message.located <= message.values).all()
        dense_bytes = prices.message_bytes(message, "dense", 8)
        assert dense_bytes == 8 * int(message.size.sum()) + int((-(-message.mask_bits // 8)).sum())
        assert prices.message_bytes(message, "smallest", 8) <= dense_bytes
