"""Local training against loops written out, on least squares with one weight vector."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_sparse.clients import local_training
from fedjax_sparse.clients.local_training import Plan
from fedjax_sparse.types import Client, Pool, Variables

X = np.random.default_rng(0).normal(size=(11, 3))
Y = np.random.default_rng(1).normal(size=11)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss(variables, batch):
    errors = batch.x @ variables.params["w"] - batch.y
    return jnp.sum(jnp.where(batch.mask, errors**2, 0)) / jnp.maximum(jnp.sum(batch.mask), 1), ()


GRADIENT = local_training.make_gradient(loss)


def client(count, places=7):
    index = np.zeros(places, np.int32)
    index[:count] = np.random.default_rng(count).permutation(len(X))[:count]
    pool = Pool(jnp.asarray(X), jnp.asarray(Y))
    return Client(jnp.int32(4), jnp.float64(1), jnp.asarray(index), jnp.int32(count), pool)


def train(plan, optimizer=lambda rate: optax.sgd(rate), schedule=lambda t: 0.05):
    run = local_training.local_sgd(optimizer, schedule, plan)
    start = Variables({"w": jnp.zeros(3)})
    return lambda client, key: run(GRADIENT, start, client, jnp.int32(1), key)


@pytest.mark.parametrize(("count", "steps"), [(0, 0), (1, 2), (4, 2), (5, 4), (7, 4)])
def test_epochs_take_every_example_once_a_pass(count, steps):
    batches = []

    def spy(variables, batch):
        jax.debug.callback(
            lambda x, mask: batches.append(np.asarray(x)[mask]), batch.x, batch.mask, ordered=True
        )
        return GRADIENT(variables, batch)

    plan = Plan(batch_size=4, epochs=2, steps=None, passes=2)
    run = local_training.local_sgd(optax.sgd, lambda t: 0.0, plan)
    member = client(count)
    out = run(spy, Variables({"w": jnp.zeros(3)}), member, jnp.int32(1), jax.random.key(0))
    jax.effects_barrier()
    assert (out.steps, out.examples) == (steps, 2 * count)
    held = X[np.asarray(member.index)[:count]]
    seen = np.concatenate([np.zeros((0, 3)), *batches])
    for one_pass in np.split(seen, 2):
        np.testing.assert_array_equal(np.sort(one_pass, axis=0), np.sort(held, axis=0))
    if count == 7:
        assert not np.array_equal(seen[:7], seen[7:]), "the second pass has the order of the first"


def test_steps_walk_through_as_many_passes_as_they_need():
    plan = Plan(batch_size=4, epochs=None, steps=5, passes=3)
    out = train(plan)(client(7), jax.random.key(0))
    assert (out.steps, out.examples) == (5, 7 + 7 + 4)
    assert train(plan)(client(0), jax.random.key(0)).steps == 0


@pytest.mark.parametrize(("count", "end", "drawn"), [(7, 5, 3), (7, 4, 2), (3, 5, 5), (0, 0, 0), (7, 50, 5)])
def test_only_passes_that_a_client_needs_are_drawn_and_those_are_the_same(count, end, drawn):
    """Five passes are enough for five steps of who holds one batch; the others keep their rows as they lie."""
    plan, key, member = Plan(batch_size=4, epochs=None, steps=5, passes=5), jax.random.key(0), client(count)
    every = local_training.shuffled_rows(member, plan, key)
    needed = local_training.shuffled_rows(member, plan, key, jnp.int32(end))
    np.testing.assert_array_equal(needed[:drawn], every[:drawn])
    for rows in needed[drawn:]:
        np.testing.assert_array_equal(rows[:7], member.index)
    together = jax.vmap(lambda end: local_training.shuffled_rows(member, plan, key, end))(
        jnp.asarray([0, end])
    )
    np.testing.assert_array_equal(together[1], needed)


@pytest.mark.parametrize("count", [1, 2, 3, 256, 257, 600, 5000])
@pytest.mark.parametrize("bits", [1, 5, 23, 32])
def test_argsort_is_stable_whatever_the_places_leave_room_for(count, bits):
    keys = np.random.default_rng(count).integers(0, 2**bits, count, dtype=np.uint32)
    keys[::3] = keys[0]  # ties
    keys[-1] = 2**bits - 1
    order = local_training._argsort(jnp.asarray(keys), bits)
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    assert order.dtype == jnp.int32


def test_examples_are_shuffled_by_uniform_numbers_the_same_in_float32_and_float64():
    index, held = np.random.default_rng(2).permutation(700).astype(np.int32), 640
    member = client(7)._replace(index=jnp.asarray(index), count=jnp.int32(held))
    key = jax.random.key(5)
    with jax.enable_x64(False):
        noise = np.asarray(jax.random.uniform(jax.random.split(key, 1)[0], (700,)))
    rows = local_training.shuffled_rows(member, Plan(32, 1, None, 1), key)[0]
    order = np.argsort(np.where(np.arange(700) < held, noise, np.inf), kind="stable")
    np.testing.assert_array_equal(rows[:700], index[order])


def test_one_full_batch_step_is_gradient_descent():
    member = client(7)
    out = train(Plan(7, 1, None, 1))(member, jax.random.key(3))
    x, y = X[np.asarray(member.index)], Y[np.asarray(member.index)]
    expected = -0.05 * 2 * x.T @ (0 - y) / 7
    np.testing.assert_allclose(out.variables.params["w"], expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(out.loss, np.mean(y**2), rtol=1e-14)


def test_loss_is_the_mean_over_examples_not_over_batches():
    member = client(5)
    out = train(Plan(4, 1, None, 1), schedule=lambda t: 0.0)(member, jax.random.key(0))
    np.testing.assert_allclose(out.loss, np.mean(Y[np.asarray(member.index)[:5]] ** 2), rtol=1e-14)


def test_momentum_and_decay_against_a_loop():
    member = client(7)
    optimizer = lambda rate: local_training.client_sgd(rate, momentum=0.9, weight_decay=0.1)  # noqa: E731
    out = train(Plan(7, 3, None, 3), optimizer)(member, jax.random.key(0))
    x, y = X[np.asarray(member.index)], Y[np.asarray(member.index)]
    w, velocity = np.zeros(3), np.zeros(3)
    for _ in range(3):
        velocity = 0.9 * velocity + 2 * x.T @ (x @ w - y) / 7 + 0.1 * w
        w = w - 0.05 * velocity
    np.testing.assert_allclose(out.variables.params["w"], w, rtol=1e-13)


@pytest.mark.parametrize("count", [4, 7])
def test_rates_of_the_epochs_of_a_round_start_anew_with_each(count):
    """A gradient of one everywhere adds the rates up; five clients' worth of passes go beyond the three factors."""
    within = (1.0, 0.5, 0.1)

    def ones(variables, batch):
        return jnp.zeros(()), (), {"w": jnp.ones(3)}

    run = local_training.local_sgd(optax.sgd, lambda t: 0.1 * t, Plan(2, 5, None, 5), within)
    start, key = Variables({"w": jnp.zeros(3)}), jax.random.key(0)
    steps = -(-count // 2)
    for t in (1, 2):
        out = run(ones, start, client(count), jnp.int32(t), key)
        np.testing.assert_allclose(
            out.variables.params["w"], -0.1 * t * steps * (1 + 0.5 + 3 * 0.1), rtol=1e-13
        )
    begun = run(ones, start, client(count), jnp.int32(1), key, steps=(0, steps + 1))
    rest = run(ones, begun.variables, client(count), jnp.int32(1), key, steps=(steps + 1, 5 * steps))
    np.testing.assert_allclose(rest.variables.params["w"], -0.1 * steps * (1 + 0.5 + 3 * 0.1), rtol=1e-13)


def test_momentum_goes_on_from_the_moments_that_are_given():
    optimizer = lambda rate: local_training.client_sgd(rate, momentum=0.9)  # noqa: E731
    run = local_training.local_sgd(optimizer, lambda t: 0.05, Plan(7, 4, None, 4))
    start, one, key = Variables({"w": jnp.zeros(3)}), jnp.int32(1), jax.random.key(0)
    whole = run(GRADIENT, start, client(7), one, key)
    half = run(GRADIENT, start, client(7), one, key, steps=(0, 2))
    rest = run(GRADIENT, half.variables, client(7), one, key, steps=(2, 4), moments=half.moments)
    np.testing.assert_allclose(rest.variables.params["w"], whole.variables.params["w"], rtol=1e-13)
    anew = run(GRADIENT, half.variables, client(7), one, key, steps=(2, 4))
    assert jnp.max(jnp.abs(anew.variables.params["w"] - whole.variables.params["w"])) > 1e-3


@pytest.mark.parametrize(("norm", "factor"), [(20.0, 0.5), (5.0, 1.0)])
def test_clipping_shortens_only_long_gradients(norm, factor):
    optimizer = local_training.client_sgd(1.0, clip_norm=10.0)
    gradient = {"w": jnp.asarray([norm, 0.0])}
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    np.testing.assert_allclose(jax.tree.leaves(updates)[0], [-norm * factor, 0])


def test_projection_holds_after_every_step():
    mask = jnp.asarray([True, False, True])
    plan = Plan(2, 2, None, 2)
    run = local_training.local_sgd(lambda rate: optax.sgd(rate, momentum=0.9), lambda t: 0.05, plan)
    project = lambda params: {"w": jnp.where(mask, params["w"], 0)}  # noqa: E731
    out = run(GRADIENT, Variables({"w": jnp.zeros(3)}), client(7), jnp.int32(1), jax.random.key(0), project)
    assert out.variables.params["w"][1] == 0
    assert jnp.all(out.variables.params["w"][jnp.asarray([0, 2])] != 0)


def test_same_under_vmap_for_clients_of_different_sizes():
    plan = Plan(4, 2, None, 2)
    members = [client(7), client(0), client(3)]
    keys = jax.random.split(jax.random.key(0), 3)
    alone = [train(plan)(member, key) for member, key in zip(members, keys, strict=True)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[m._replace(pool=None) for m in members])
    together = jax.vmap(lambda m, k: train(plan)(m._replace(pool=members[0].pool), k))(stacked, keys)
    for i, one in enumerate(alone):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(a, b[i], rtol=1e-13, atol=1e-15)
