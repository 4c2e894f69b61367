"""Population, cohorts, and the account of padding."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.data import population
from fedjax_sparse.errors import UsageError

X = np.arange(12, dtype=np.uint8).reshape(6, 2)
Y = np.arange(6, dtype=np.int32)
PARTS = [np.array([4]), np.array([0, 2, 5]), np.array([1, 3])]


def test_build():
    built = population.build(X, Y, PARTS)
    assert built.index.tolist() == [[4, 0, 0], [0, 2, 5], [1, 3, 0]]
    assert built.count.tolist() == [1, 3, 2]
    assert built.weight.tolist() == [1.0, 3.0, 2.0]
    assert (built.index.dtype, built.count.dtype, built.weight.dtype) == (np.int32, np.int32, np.float32)
    assert built.pool.x is X
    assert built.pool.y is Y
    assert population.weighted(built, "uniform").weight.tolist() == [1.0, 1.0, 1.0]
    assert population.weighted(population.weighted(built, "uniform"), "examples").weight.tolist() == [
        1.0,
        3.0,
        2.0,
    ]


def test_weights_are_float64_where_jax_is():
    with jax.enable_x64(True):
        assert population.build(X, Y, PARTS).weight.dtype == np.float64


def test_an_empty_client_is_refused():
    with pytest.raises(UsageError, match="client 1 of 2 has no examples; allowed: at least 1"):
        population.build(X, Y, [np.arange(6), np.array([], int)])


gather = jax.jit(population.gather)


def test_gather_fills_places():
    built = population.build(X, Y, PARTS)
    ids, present = np.array([1, 2, 3, 0], np.int32), np.array([True, False, True, True])
    cohort = gather(built, ids, present)
    assert cohort.id.tolist() == [1, 2, 3, 0]
    assert cohort.count.tolist() == [3, 2, 0, 1]
    assert cohort.index.tolist() == [[0, 2, 5], [1, 3, 0], [0, 0, 0], [4, 0, 0]]
    assert cohort.weight.tolist() == [3.0, 0.0, 0.0, 1.0]
    assert int(cohort.population) == 3
    # Invited and absent is not the same as an empty place: the server sent its model to the first.
    assert cohort.invited.tolist() == [True, True, False, True]
    assert cohort.present.tolist() == [True, False, False, True]
    dtypes = (cohort.id.dtype, cohort.count.dtype, cohort.index.dtype, cohort.population.dtype)
    assert dtypes == (jnp.int32,) * 4


def test_gather_maps_over_seeds():
    built = population.build(X, Y, PARTS)
    ids = np.array([[0, 1], [2, 3]], np.int32)
    cohorts = jax.jit(jax.vmap(population.gather, in_axes=(None, 0, None)))(built, ids, np.ones(2, bool))
    for seed in range(2):
        alone = gather(built, ids[seed], np.ones(2, bool))
        assert np.array_equal(cohorts.index[seed], alone.index)
        assert np.array_equal(cohorts.weight[seed], alone.weight)


def simulated(counts, batch_size, epochs, steps, chunk, devices):
    """The same account by walking through every local step."""
    chunk = min(chunk, math.ceil(len(counts) / devices))
    chunks_each = math.ceil(len(counts) / (chunk * devices))
    needed = examples = 0
    times = [0] * devices
    for first in range(0, len(counts), chunk):
        longest = 0
        for count in counts[first : first + chunk]:
            one_pass = [min(batch_size, count - start) for start in range(0, count, batch_size)]
            batches = one_pass * epochs if steps is None else (one_pass * steps)[:steps]
            needed, examples = needed + len(batches), examples + sum(batches)
            longest = max(longest, len(batches))
        times[first // (chunk * chunks_each)] += longest
    run = max(times) * chunk * devices
    return population.Padding(run, needed, run * batch_size, examples)


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=9),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(1, 4),
    st.booleans(),
)
def test_padding_is_what_a_walk_through_the_steps_counts(
    counts, batch_size, amount, chunk, devices, by_epochs
):
    epochs, steps = (amount, None) if by_epochs else (None, amount)
    account = population.padding(
        np.array(counts), batch_size=batch_size, epochs=epochs, steps=steps, chunk=chunk, devices=devices
    )
    assert account == simulated(counts, batch_size, epochs, steps, chunk, devices)
    assert account.examples_needed <= account.examples_run
    if chunk == devices == 1:
        assert account.steps_run == account.steps_needed


def test_padding_by_hand():
    """Batches of 10, two epochs, chunks of 2: clients of 6, 4, 2 steps and a place to fill up."""
    account = population.padding(np.array([25, 20, 7], np.int32), batch_size=10, epochs=2, chunk=2)
    assert account == population.Padding(6 + 6 + 2 + 2, 6 + 4 + 2, 160, 2 * (25 + 20 + 7))
    assert (
        account.describe() == "padding: 4 of 16 local steps (25.0%) and 56 of 160 places in batches (35.0%)"
    )


def test_an_account_of_nothing_can_be_described():
    assert population.Padding(0, 0, 0, 0).describe().count("(0.0%)") == 2
