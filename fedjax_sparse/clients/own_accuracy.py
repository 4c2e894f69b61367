"""How many of its own training examples a client's model gets right: what gates of personal pruning ask."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_sparse import errors
from fedjax_sparse.clients.local_training import take_batch
from fedjax_sparse.types import Client, Federation, Variables


def make_own_accuracy(
    federation: Federation, name: str
) -> Callable[[Variables, Client, jax.Array], jax.Array]:
    """Builds (variables, client, key) -> f[], the model's accuracy on all training examples of the client.

    The model is in evaluation mode; examples are augmented as in training where the run augments. Without examples
    it is 0.

    Args:
        federation: What the algorithm is built from.
        name: The algorithm that asks, for the message.

    Raises:
        UsageError: The data have no classes.
    """
    if federation.correct is None:
        raise errors.UsageError(
            f"{name} asks for accuracies, which {federation.task} data have not; allowed: data with classes"
        )
    score, plan = federation.loss_of(federation.correct, train=False), federation.plan

    def own_accuracy(variables, client, key):
        rows = jnp.pad(client.index, (0, -client.index.shape[0] % plan.batch_size))[None]

        def add(j, total):
            batch = take_batch(client, plan, rows, j, jax.random.fold_in(key, j))
            mean, _ = score(variables, batch)
            return total + mean * jnp.sum(batch.mask)

        total = jax.lax.fori_loop(0, plan.steps_per_pass(client.count), add, jnp.zeros(()))
        return total / jnp.maximum(client.count, 1)

    return own_accuracy
