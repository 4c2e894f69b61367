"""What a client's model is worth on its own training examples: what gates of personal pruning and choices ask."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_sparse import errors
from fedjax_sparse.clients.local_training import Plan, over_own_batches
from fedjax_sparse.types import Batch, Client, Federation, PyTree, Variables


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
    score = federation.loss_of(federation.correct, train=False)
    return functools.partial(own_mean, score, federation.plan)


def own_mean(
    score: Callable[[Variables, Batch], tuple[jax.Array, PyTree]],
    plan: Plan,
    variables: Variables,
    client: Client,
    key: jax.Array,
) -> jax.Array:
    """The mean of a score over all training examples of a client, f[]; 0 without examples.

    Args:
        score: (variables, batch) -> (mean over the batch, new statistics), such as a federation's loss.
        plan: Batch size.
        variables: The model.
        client: Whose examples.
        key: For augmentation.
    """

    def add(total, batch):
        mean, _ = score(variables, batch)
        return total + mean * jnp.sum(batch.mask)

    return over_own_batches(add, jnp.zeros(()), client, plan, key) / jnp.maximum(client.count, 1)
