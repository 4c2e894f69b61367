"""The executor against a Python loop over clients, for every cut of the cohort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.clients.executor import make_over_clients
from fedjax_sparse.devices.meshes import AXIS
from fedjax_sparse.types import Cohort, Pool

N, S = 9, 4


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def cohort():
    """Five places: three clients that come, one that drops out, one empty place."""
    rng = np.random.default_rng(0)
    return Cohort(
        id=jnp.asarray([3, 7, N, 0, 5], jnp.int32),
        weight=jnp.asarray([2.0, 0.0, 0.0, 1.0, 4.0]),
        index=jnp.asarray(rng.integers(0, 20, (5, S)), jnp.int32),
        count=jnp.asarray([4, 3, 0, 1, 2], jnp.int32),
        pool=Pool(jnp.asarray(rng.normal(size=20)), jnp.zeros(20)),
        population=jnp.int32(N),
    )


def work(shared, state, client, key):
    held = jnp.arange(S) < client.count
    value = jnp.sum(jnp.where(held, client.pool.x[client.index], 0)) * shared + jax.random.normal(key)
    # What an absent client computes must not matter, not even a NaN.
    value = jnp.where(client.weight > 0, value, jnp.nan)
    return {"value": client.weight * value, "votes": jnp.int32(1)}, state + value, {"count": client.count}


def by_hand():
    c, key = cohort(), jax.random.key(1)
    total, votes, states = 0.0, 0, np.arange(5.0)
    for i in (0, 3, 4):
        held = np.asarray(c.pool.x)[np.asarray(c.index[i, : c.count[i]])]
        value = held.sum() * 2.0 + float(jax.random.normal(jax.random.fold_in(key, c.id[i])))
        total, votes = total + float(c.weight[i]) * value, votes + 1
        states[i] += value
    return total, votes, states


CUTS = [(None, 1), (1, 1), (2, 1), (3, 1), (5, 1), (None, 2), (1, 2), (2, 4)]


@pytest.mark.parametrize(("chunk", "devices"), CUTS)
def test_every_cut_gives_what_a_loop_gives(chunk, devices):
    mesh = (
        jax.make_mesh((devices,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,)) if devices > 1 else None
    )
    over_clients = jax.jit(make_over_clients(chunk, mesh), static_argnums=0)
    sent, states, log = over_clients(work, jnp.float64(2), jnp.arange(5.0), cohort(), jax.random.key(1))
    total, votes, expected = by_hand()
    np.testing.assert_allclose(sent["value"], total, rtol=1e-14)
    assert sent["votes"] == votes
    np.testing.assert_allclose(states, expected, rtol=1e-14)
    np.testing.assert_array_equal(log["count"], [4, 0, 0, 1, 2])


def test_clients_without_states_under_a_vmap_over_seeds():
    def stateless(shared, state, client, key):
        return work(shared, 0.0, client, key)[0], state, ()

    over_clients = make_over_clients(2)
    run = lambda seed: over_clients(stateless, jnp.float64(2), (), cohort(), jax.random.key(seed))[0]  # noqa: E731
    both = jax.jit(jax.vmap(run))(jnp.asarray([1, 2]))
    np.testing.assert_allclose(both["value"][0], by_hand()[0], rtol=1e-14)
    assert both["value"][0] != both["value"][1]
