"""What every algorithm promises, the package's own and those from outside, with no exceptions by name.

    from fedjax_sparse.testing import contract

    def test_contract():
        contract.check("my_package.my_module:factory")

All checks of an algorithm share its programs: one jitted round of six places for each way to cut a
cohort, and one run of two seeds. They compare in float64, at 1e-12.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.config import registry
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.costs import prices
from fedjax_sparse.data import population as populations
from fedjax_sparse.testing import toy
from fedjax_sparse.testing.subject import (
    CUTS,
    IDS,
    PLACES,
    PRESENT,
    N,
    Subject,
    compiled,
    forget,
    history,
    one_round,
)
from fedjax_sparse.types import State


def check(name: str) -> None:
    """Runs all checks of one algorithm, in half a minute or so.

    One of them divides the clients over two devices. On CPU there are two after
    `jax.config.update("jax_num_cpu_devices", 2)`, before anything is computed; with one it is left out.

    Args:
        name: As `fedjax-sparse run` takes it.

    Raises:
        UsageError: There is no such algorithm, or it cannot be used.
        AssertionError: What it does not keep, by the name of the check.
    """
    try:
        with jax.enable_x64(True):
            subject = compiled(name)
            for kept in CHECKS:
                _run(kept, subject)
    finally:
        forget()


def _run(kept: Callable[[Subject], None], subject: Subject) -> None:
    """Runs one check; its failure says which."""
    try:
        kept(subject)
    except AssertionError as error:
        raise AssertionError(f"{subject.name}, {kept.__name__}: {kept.__doc__} {error}") from error


def other_cut() -> str:
    """The last way to cut a cohort for which there are devices enough; it has all that those before it have."""
    return [cut for cut, how in CUTS.items() if how.devices <= jax.device_count()][-1]


def says_what_can_be_set(subject: Subject) -> None:
    """Every field of its hyper-parameters is an `option`, of a dataclass, and their defaults are allowed."""
    hyperparameters = registry.entry(subject.name).hyperparameters
    hyperparameters()
    declared = {option.name for option in declared_options(hyperparameters)}
    inside = {name for cls in hyperparameters.__mro__ for name in inspect.get_annotations(cls)}
    assert declared == {field.name for field in dataclasses.fields(hyperparameters)} == inside


def compiles_once_whatever_the_cohort(subject: Subject) -> None:
    """A round is one program, whoever takes part."""
    state = subject.start
    for t in range(1, toy.ROUNDS + 1):
        ids = np.asarray([t, 0, 6, N, N, N])
        state, _ = one_round(subject, ids, ids < 4 + t % 2, state, t)
    one_round(subject)
    assert subject.round._cache_size() == 1


def is_pure(subject: Subject) -> None:
    """A round changes nothing that it is given, and the same round twice is the same bit for bit."""
    before = jax.device_get(subject.start)
    first, again = one_round(subject), one_round(subject)
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(subject.start))
    jax.tree.map(np.testing.assert_array_equal, first, again)


def keeps_structure_shapes_and_dtypes(subject: Subject) -> None:
    """States keep their shapes; counts are int32, one for each place, or each place and leaf."""
    describe = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    state, metrics = one_round(subject)
    assert describe(state) == describe(subject.start)
    leaves = len(jax.tree.leaves(subject.setting.federation.params))
    for counts in (*metrics.up, *metrics.down, metrics.work.examples, metrics.work.steps):
        assert (counts.shape, counts.dtype) == ((PLACES,), jnp.int32)
    for counts in metrics.work[2:]:
        assert (counts.shape, counts.dtype) == ((PLACES, leaves), jnp.int32)
    assert metrics.loss.shape == (PLACES,)
    assert all(value.shape in ((), (PLACES,), (PLACES, PLACES)) for value in metrics.log.values())


def order_of_the_cohort_does_not_matter(subject: Subject) -> None:
    """Clients in another order give the same states, and the same costs for each."""
    order = np.asarray([3, 4, 0, 5, 2, 1])
    state, metrics = one_round(subject)
    shuffled, shuffled_metrics = one_round(subject, IDS[order], PRESENT[order])
    toy.leaves_close(shuffled, state)
    toy.leaves_close(shuffled_metrics.loss, metrics.loss[order])
    toy.leaves_close(shuffled_metrics.up, jax.tree.map(lambda leaf: leaf[order], metrics.up))


def empty_and_dropped_places_change_nothing(subject: Subject) -> None:
    """Nothing is counted for them but, for a client that drops out, what it was sent."""
    state, metrics = one_round(subject)
    without, _ = one_round(subject, np.where(PRESENT, IDS, N), PRESENT)
    toy.leaves_close(without, state)
    for counts in (*metrics.up, metrics.work.examples, metrics.work.steps):
        assert not np.asarray(counts)[~PRESENT].any()
    sizes = np.asarray(metrics.down.size)
    assert sizes[2] == sizes[0]  # dropped, but invited
    assert (sizes[0] > 0) == registry.entry(subject.name).communicates
    assert not np.asarray(metrics.down.size)[IDS == N].any()


def states_of_clients_outside_the_cohort_stay(subject: Subject) -> None:
    """Bit for bit."""
    state, _ = one_round(subject)
    outside = np.setdiff1d(np.arange(N), IDS[PRESENT])
    for before, after in zip(
        jax.tree.leaves(subject.start.client), jax.tree.leaves(state.client), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(before)[outside], np.asarray(after)[outside])


def nobody_comes(subject: Subject) -> None:
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


def a_client_is_the_same_wherever_it_stands(subject: Subject) -> None:
    """A client alone, in the first place or in the last."""
    first, _ = one_round(subject, [4, N, N, N, N, N], [True] + [False] * 5)
    last, _ = one_round(subject, [N, N, N, N, N, 4], [False] * 5 + [True])
    toy.leaves_close(first, last)


def the_cut_changes_only_rounding(subject: Subject) -> None:
    """Clients one by one, or in chunks, over two devices where there are two."""
    other = compiled(subject.name, other_cut())
    here, there = subject.start, other.start
    toy.leaves_close((there, other.preparation), (here, subject.preparation))
    for t in (1, 2):
        here, metrics = one_round(subject, IDS, PRESENT, here, t)
        # From the host: a state that is spread over devices would be another argument, and the round compiled again.
        there, other_metrics = one_round(other, IDS, PRESENT, jax.device_get(there), t)
        toy.leaves_close(there, here)
        toy.leaves_close(other_metrics, metrics)


def a_seed_is_the_same_whatever_runs_beside_it(subject: Subject) -> None:
    """In the first place or in the second; and another seed is another run."""
    states, rows, _ = history(subject.name, (3, 5))
    others, other_rows, _ = history(subject.name, (8, 3))
    first = jax.tree.map(lambda leaf: leaf[0], states[-1])
    second = jax.tree.map(lambda leaf: leaf[1], others[-1])
    toy.leaves_close(second, first)
    here, there = _numbers(rows[-1][0]), _numbers(other_rows[-1][1])
    assert there.keys() == here.keys()
    np.testing.assert_allclose(list(there.values()), list(here.values()), rtol=1e-12)
    # After the first round: in the last one, pruning may have left two models that both say nothing.
    assert other_rows[0][0]["global_test_loss"] != rows[0][0]["global_test_loss"]


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row measured; where nothing is sent, messages have no density."""
    return {name: value for name, value in row.items() if value is not None}


def everything_stays_finite(subject: Subject) -> None:
    """States and rows of a whole run, in which a fifth of the clients drop out."""
    states, rows, ledgers = history(subject.name, (3, 5))
    floats = [leaf for leaf in jax.tree.leaves(states[-1]) if np.issubdtype(leaf.dtype, np.floating)]
    assert all(np.isfinite(leaf).all() for leaf in floats)
    assert all(np.isfinite(value) for row in rows[-1] for value in _numbers(row).values())
    assert all(ledger.diverged_at is None for ledger in ledgers[-1])


def what_is_declared_sparse_is_sparse_after_every_round(subject: Subject) -> None:
    """As the card says, and within the counts, or exactly, as `Algorithm.declared` says."""
    states, _, _ = history(subject.name, (3, 5))
    declared = {promise.what: promise for promise in subject.algorithm.declared}
    stated = registry.entry(subject.name).sparse
    assert stated is None or set(declared) == set(stated)
    for t, state in enumerate(states, start=1):
        server, clients = jax.tree.map(lambda leaf: leaf[0], state)
        deployed = subject.algorithm.model(server, subject.client(clients))
        own = subject.algorithm.server_model(server) if subject.algorithm.server_model else deployed
        for what, variables in (("deployed", deployed), ("server", own)):
            if what in declared and (kept := declared[what].kept) is not None:
                nonzero = _prunable_nonzero(variables.params, declared[what].prunable)
                assert nonzero <= kept(t)
                # Biases start at zero; an entry that lives need not have moved, so only kernels are counted exactly.
                if declared[what].how == "exact" and t > 1:
                    assert nonzero == kept(t)
        if "personal" in declared and (kept := declared["personal"].kept) is not None:
            for i in range(N):
                own = subject.algorithm.model(server, subject.client(clients, i))
                nonzero = _prunable_nonzero(own.params, declared["personal"].prunable)
                assert nonzero <= kept(t)


def _prunable_nonzero(params: Any, prunable: Any) -> int:
    counts = jax.tree.map(lambda leaf, here: int(np.count_nonzero(leaf)) if here else 0, params, prunable)
    return sum(jax.tree.leaves(counts))


def _examples_of(steps: np.ndarray, held: np.ndarray) -> np.ndarray:
    """How many examples so many steps pass through, in batches of three of which the last of a pass may be smaller."""
    passes, rest = np.divmod(steps, -(-held // 3))
    return passes * held + np.minimum(3 * rest, held)


def what_is_declared_of_uploads_is_sent(subject: Subject) -> None:
    """As many values as declared, and a position for each that the receiver cannot know."""
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


def costs_equal_a_recount(subject: Subject) -> None:
    """Bytes and FLOPs of a round, counted again from the model that was sent and the sizes of the clients."""
    _, metrics = one_round(subject)
    metrics = jax.device_get(metrics)
    federation, model = subject.setting.federation, subject.setting.model
    sizes = trees.sizes(federation.params)
    assert metrics.down.size[0] >= sum(sizes) * registry.entry(subject.name).communicates
    expected = _examples_of(metrics.work.steps[PRESENT], np.asarray(toy.SIZES)[IDS[PRESENT]])
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


def says_where_its_state_lives(subject: Subject) -> None:
    """At the server, at the clients, or at both, if it says so."""
    server, clients = (bool(jax.tree.leaves(part)) for part in subject.start)
    lives = {(True, False): "server", (False, True): "clients", (True, True): "both"}
    assert registry.entry(subject.name).state in (None, lives.get((server, clients)))


def says_whether_rounds_depend_on_the_length(subject: Subject) -> None:
    """If at all; traced for two lengths: the same program and states, and tables of which one begins as the other."""
    one, other = _round_of(subject.name, 1009), _round_of(subject.name, 2003)
    tables = zip(one.tables, other.tables, strict=True)
    same = [np.array_equal(a, b[: len(a)] if np.ndim(b) else b) for a, b in tables]
    depends = one.text != other.text or one.shapes != other.shapes or not all(same)
    assert registry.entry(subject.name).follows_length in (None, depends)


class _Traced(NamedTuple):
    """A round as a program, in which the number of rounds is written as R, the arrays in it, and the state's shapes."""

    text: str
    tables: list[Any]
    shapes: list[tuple[int, ...]]


def _round_of(name: str, rounds: int) -> _Traced:
    """An algorithm's round in a run of so many."""
    setting = toy.setting(cohort_size=2)
    algorithm = toy.algorithm(name, setting._replace(federation=setting.federation._replace(rounds=rounds)))
    variables = setting.model.init(jax.random.key(0))
    everyone = jnp.arange(2)
    cohort = populations.gather(
        jax.tree.map(jnp.asarray, setting.population), everyone, jnp.ones_like(everyone, bool)
    )
    client = jax.vmap(lambda key: algorithm.init_client(variables, key))(
        jax.random.split(jax.random.key(1), 2)
    )
    state = State(algorithm.init(variables, jax.random.key(2)), client)
    program = jax.make_jaxpr(algorithm.round)(state, cohort, jnp.int32(1), jax.random.key(3))
    text = re.sub(r"0x[0-9a-f]+", "", str(program.jaxpr))
    text = text.replace(str(rounds + 1), "R+1").replace(str(rounds), "R")
    return _Traced(text, list(program.consts), [leaf.shape for leaf in jax.tree.leaves(state)])


CHECKS: tuple[Callable[[Subject], None], ...] = (
    says_what_can_be_set,
    compiles_once_whatever_the_cohort,
    is_pure,
    keeps_structure_shapes_and_dtypes,
    order_of_the_cohort_does_not_matter,
    empty_and_dropped_places_change_nothing,
    states_of_clients_outside_the_cohort_stay,
    nobody_comes,
    a_client_is_the_same_wherever_it_stands,
    the_cut_changes_only_rounding,
    a_seed_is_the_same_whatever_runs_beside_it,
    everything_stays_finite,
    what_is_declared_sparse_is_sparse_after_every_round,
    what_is_declared_of_uploads_is_sent,
    costs_equal_a_recount,
    says_where_its_state_lives,
    says_whether_rounds_depend_on_the_length,
)
