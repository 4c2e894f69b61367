"""Local SGD of one client. Extra terms enter through the gradient function, masks through `project`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_sparse import trees
from fedjax_sparse.devices import platforms
from fedjax_sparse.types import Batch, Client, PyTree, Trained, Variables

Gradient = Callable[[Variables, Batch], tuple[jax.Array, PyTree, PyTree]]

NOISE_BITS = 23  # of the numbers by which examples are shuffled: as many as a random float32 has


class Plan(NamedTuple):
    """How much a client trains in a round: either `epochs` passes over its data or a fixed number of `steps`.

    Attributes:
        batch_size: B, examples in a local step; the last step of a pass may hold fewer.
        epochs: Passes over the client's data, without replacement inside each; None where `steps` rules.
        steps: Local steps, walking through as many passes as that takes; None where `epochs` rules.
        passes: An upper bound on passes that holds for every client (`epochs`, or `steps` over the fewest
            steps per pass); the number of shuffles that are drawn.
    """

    batch_size: int
    epochs: int | None
    steps: int | None
    passes: int

    def steps_per_pass(self, count: jax.Array) -> jax.Array:
        """i32[]: ceil(count / B)."""
        return -(-count // self.batch_size)

    def total_steps(self, count: jax.Array) -> jax.Array:
        """i32[]: local steps of a client with `count` examples; none without examples."""
        if self.steps is None:
            assert self.epochs is not None
            return self.epochs * self.steps_per_pass(count)
        return jnp.where(count > 0, self.steps, 0)

    def most_steps(self, most: int) -> int:
        """Local steps of the client that holds most, `most` examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return self.epochs * -(-most // self.batch_size)


def make_gradient(loss: Callable[[Variables, Batch], tuple[jax.Array, PyTree]]) -> Gradient:
    """(variables, batch) -> (loss, new stats, gradient with respect to the parameters)."""

    def of_params(params: PyTree, stats: PyTree, batch: Batch):
        return loss(Variables(params, stats), batch)

    def gradient(variables: Variables, batch: Batch):
        value_and_grad = jax.value_and_grad(of_params, has_aux=True)
        (value, stats), grads = value_and_grad(variables.params, variables.stats, batch)
        return value, stats, grads

    return gradient


def identity(params: PyTree) -> PyTree:
    """The projection of unconstrained training."""
    return params


def local_sgd(
    optimizer: Callable[[jax.Array | float], optax.GradientTransformation],
    schedule: Callable[[jax.Array], jax.Array | float],
    plan: Plan,
    within: Sequence[float] = (1.0,),
) -> Callable[..., Trained]:
    """Builds `train(gradient, variables, client, t, key, project, steps, moments)`, see `types.Federation`.

    It takes the local steps that `plan` asks for, or only `steps = (first, end)` of them, which may be traced and may
    go beyond the plan. Each call starts with a fresh optimiser state unless it is given one.

    Args:
        optimizer: Learning rate -> the clients' optax transformation.
        schedule: Round number t -> learning rate.
        plan: Batch size and amount of work.
        within: Factors on that rate in a round's first, second, ... pass over the data; the last one stays.
    """
    factors = jnp.asarray(np.asarray(within), jnp.result_type(float))
    varies = any(factor != 1 for factor in within)

    def optimizer_at(rate, client, j):
        if not varies:
            return optimizer(rate)
        passes = j // jnp.maximum(plan.steps_per_pass(client.count), 1)
        return optimizer(rate * factors[jnp.minimum(passes, len(within) - 1)])

    def train(gradient, variables, client, t, key, project=identity, steps=None, moments=None):
        rate = schedule(t)
        order_key, step_key = jax.random.split(key)
        first, end = (0, plan.total_steps(client.count)) if steps is None else steps
        rows = shuffled_rows(client, plan, order_key, end)

        def step(j, carry):
            variables, opt_state, loss_sum, examples = carry
            batch = take_batch(client, plan, rows, j, jax.random.fold_in(step_key, j))
            loss, stats, grads = gradient(variables, batch)
            opt = optimizer_at(rate, client, j)
            updates, opt_state = opt.update(grads, opt_state, variables.params)
            params = project(optax.apply_updates(variables.params, updates))
            size = jnp.sum(batch.mask, dtype=jnp.int32)
            return Variables(params, stats), opt_state, loss_sum + loss * size, examples + size

        start = (
            variables,
            optimizer(rate).init(variables.params) if moments is None else moments,
            jnp.zeros(()),
            jnp.zeros((), jnp.int32),
        )
        variables, moments, loss_sum, examples = jax.lax.fori_loop(first, end, step, start)
        taken = jnp.asarray(end - first, jnp.int32)
        return Trained(variables, loss_sum / jnp.maximum(examples, 1), examples, taken, moments)

    return train


def in_sequence(first: Trained, rest: Trained) -> Trained:
    """Two stretches of local steps, one after the other, as one."""
    examples = first.examples + rest.examples
    loss = (first.loss * first.examples + rest.loss * rest.examples) / jnp.maximum(examples, 1)
    steps = first.steps + rest.steps
    return Trained(rest.variables, loss.astype(rest.loss.dtype), examples, steps, rest.moments)


def full_gradient(
    gradient: Gradient, variables: Variables, client: Client, plan: Plan, key: jax.Array
) -> PyTree:
    """The gradient of the mean loss over all examples of a client, summed batch by batch; zero without examples.

    Each batch is seen as in training: BatchNorm normalises by it, dropout draws from its own key.
    """

    def add_batch(total, batch):
        _, _, grads = gradient(variables, batch)
        return trees.add_scaled(total, jnp.sum(batch.mask), grads)

    total = over_own_batches(add_batch, trees.zeros_like(variables.params), client, plan, key)
    return jax.tree.map(lambda leaf: leaf / jnp.maximum(client.count, 1), total)


def over_own_batches(
    step: Callable[[PyTree, Batch], PyTree], start: PyTree, client: Client, plan: Plan, key: jax.Array
) -> PyTree:
    """Folds `step`, (carry, batch) -> carry, over all examples of a client in their order, batch by batch."""
    one_pass = plan._replace(passes=1)
    rows = jnp.pad(client.index, (0, -client.index.shape[0] % plan.batch_size))[None]

    def one(j, carry):
        return step(carry, take_batch(client, one_pass, rows, j, jax.random.fold_in(key, j)))

    return jax.lax.fori_loop(0, plan.steps_per_pass(client.count), one, start)


def shuffled_rows(client: Client, plan: Plan, key: jax.Array, end: jax.Array | int = 2**31 - 1) -> jax.Array:
    """i32[passes, whole batches]: the client's rows of the pool in a new random order for every pass.

    Args:
        client: Whose rows.
        plan: Of its local work.
        key: Each pass has its own key, derived from this.
        end: The client takes no step from this one on; where that saves work, passes that begin later are not drawn.
    """
    places = client.index.shape[0]
    held = jnp.arange(places) < client.count

    def one_pass(key: jax.Array) -> jax.Array:
        noise = jax.random.bits(key, (places,), "uint32") >> (32 - NOISE_BITS)
        # Places that hold nothing come last; so they do where a held one drew the same, for it stands before them.
        return client.index[_argsort(jnp.where(held, noise, (1 << NOISE_BITS) - 1), NOISE_BITS)]

    def one_needed_pass(numbered: tuple[jax.Array, jax.Array]) -> jax.Array:
        number, key = numbered
        first_step = number * plan.steps_per_pass(client.count)
        return jax.lax.cond(first_step < end, one_pass, lambda key: client.index, key)

    keys = jax.random.split(key, plan.passes)
    # The smallest client may need many passes where others need few; but an accelerator sorts all at once.
    if plan.steps is None or not platforms.current().sorts_are_skipped:
        rows = jax.vmap(one_pass)(keys)
    else:
        rows = jax.lax.map(one_needed_pass, (jnp.arange(plan.passes), keys))
    return jnp.pad(rows, ((0, 0), (0, -places % plan.batch_size)))


def _argsort(keys: jax.Array, bits: int) -> jax.Array:
    """i32[S]: the stable order of the unsigned integers keys[S], each below 2**bits.

    From the lowest bits to the highest, as many at a time as leave room for a place below them in 32 bits: on CPU, XLA
    sorts such an array in a fifth of the time that it takes for keys with their places beside them.
    """
    count = keys.shape[0]
    width = max(1, (count - 1).bit_length())
    places = jnp.arange(count, dtype=jnp.uint32)
    order = places
    for low in range(0, bits, 32 - width):
        some = keys[order] >> low & ((1 << min(32 - width, bits - low)) - 1)
        order = order[jax.lax.sort(some << width | places, is_stable=False) & ((1 << width) - 1)]
    return order.astype(jnp.int32)


def take_batch(client: Client, plan: Plan, rows: jax.Array, j: jax.Array | int, key: jax.Array) -> Batch:
    """The examples of local step j; beyond the passes that were shuffled, their orders come around again."""
    per_pass = jnp.maximum(plan.steps_per_pass(client.count), 1)
    first = (j % per_pass) * plan.batch_size
    chosen = jax.lax.dynamic_slice(rows, (j // per_pass % plan.passes, first), (1, plan.batch_size))[0]
    mask = first + jnp.arange(plan.batch_size) < client.count
    return Batch(client.pool.x[chosen], client.pool.y[chosen], mask, key, jnp.asarray(j, jnp.int32))


def step_batch(client: Client, plan: Plan, j: jax.Array | int, key: jax.Array) -> Batch:
    """The examples that `train`, given the same key, takes in its local step j."""
    order_key, step_key = jax.random.split(key)
    rows = shuffled_rows(client, plan, order_key)
    return take_batch(client, plan, rows, j, jax.random.fold_in(step_key, j))


def random_batch(client: Client, plan: Plan, key: jax.Array) -> Batch:
    """A minibatch that is drawn from all examples of the client, as the first one of a new pass."""
    order_key, batch_key = jax.random.split(key)
    one_pass = plan._replace(epochs=1, steps=None, passes=1)
    return take_batch(client, one_pass, shuffled_rows(client, one_pass, order_key), 0, batch_key)


def client_sgd(
    learning_rate: jax.Array | float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """SGD as PyTorch orders it: clip the gradient's global norm, add weight decay, then momentum.

    A gradient of norm g is clipped by the factor clip_norm / g, so that its norm is `clip_norm`; PyTorch has
    clip_norm / (g + 1e-6), which makes it a little smaller.
    """
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm is not None else []
    if weight_decay:
        parts.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*parts, optax.sgd(learning_rate, momentum=momentum or None, nesterov=nesterov))
