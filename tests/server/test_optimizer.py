"""The server's step: FedAvg's mean, momentum by hand, nothing when nobody came, no way out of a mask."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.server.optimizer import mask_moments, server_step
from fedjax_sparse.types import Variables

START = Variables({"w": jnp.asarray([1.0, 2.0])}, {"mean": jnp.asarray([5.0])})
CLIENTS = [
    Variables({"w": jnp.asarray([2.0, 2.0])}, {"mean": jnp.asarray([1.0])}),
    Variables({"w": jnp.asarray([4.0, -2.0])}, {"mean": jnp.asarray([3.0])}),
]
WEIGHT = jnp.asarray([1.0, 3.0])


def total():
    steps = [weighted_step(client, START, weight) for client, weight in zip(CLIENTS, WEIGHT, strict=True)]
    return jax.tree.map(jnp.add, *steps)


def test_sgd_at_rate_one_is_the_weighted_mean_of_models_and_statistics():
    optimizer = optax.sgd(1.0)
    new, _ = server_step(optimizer, START, optimizer.init(START.params), total(), WEIGHT)
    np.testing.assert_allclose(new.params["w"], [3.5, -1.0])
    np.testing.assert_allclose(new.stats["mean"], [2.5])


def test_momentum_by_hand():
    optimizer = optax.sgd(0.5, momentum=0.9)
    state = optimizer.init(START.params)
    new, state = server_step(optimizer, START, state, total(), WEIGHT)
    np.testing.assert_allclose(new.params["w"], [1 + 0.5 * 2.5, 2 - 0.5 * 3.0])
    newer, _ = server_step(optimizer, new, state, total(), WEIGHT)
    np.testing.assert_allclose(newer.params["w"], [2.25 + 0.5 * 1.9 * 2.5, 0.5 - 0.5 * 1.9 * 3.0], rtol=1e-6)


def test_nothing_changes_when_nobody_came():
    optimizer = optax.adam(0.1)
    state = optimizer.init(START.params)
    nothing = jax.tree.map(jnp.zeros_like, total())
    after = server_step(optimizer, START, state, nothing, jnp.zeros(2))
    jax.tree.map(np.testing.assert_array_equal, after, (START, state))


def test_masked_moments_leave_masked_weights_alone():
    optimizer = optax.adam(0.1)
    new, state = server_step(optimizer, START, optimizer.init(START.params), total(), WEIGHT)
    mask = {"w": jnp.asarray([True, False])}
    masked = new._replace(params=jax.tree.map(lambda m, w: jnp.where(m, w, 0), mask, new.params))
    state = mask_moments(optimizer, state, mask)
    step = jax.tree.map(lambda m, w: jnp.where(m, w, 0), mask, total().params)
    after, _ = server_step(optimizer, masked, state, Variables(step, total().stats), WEIGHT)
    assert after.params["w"][1] == 0
    assert after.params["w"][0] != masked.params["w"][0]
