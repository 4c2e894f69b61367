"""What a client of a plain averaging round contributes: the step that local SGD took it, weighted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.types import Trained, Variables


class Steps(NamedTuple):
    """Local training whose result is only ever summed, so that it need not be a model.

    Attributes:
        take: (train, variables, client, t, key) -> (what `over_clients` sums, `Trained`), with `train` that of a
            `Federation`: what is summed is the client's weighted step from `variables` and its weighted statistics.
        total: (that sum, variables) -> the sum as `Variables`, for `server_step`.
        at_once: Clients that a CPU gains from training together, of an algorithm that does nothing else.
    """

    take: Callable[..., tuple[Any, Trained]]
    total: Callable[[Any, Variables], Variables]
    at_once: int = 1


def with_own_weights(loss: Callable) -> Steps:
    """Each client trains a copy of the model."""
    gradient = make_gradient(loss)

    def take(train, variables, client, t, key):
        trained = train(gradient, variables, client, t, key)
        return weighted_step(trained.variables, variables, client.weight), trained

    return Steps(take, lambda total, variables: total)


def weighted_step(trained: Variables, start: Variables, weight: jax.Array) -> Variables:
    """What a client contributes to `server_step`: its weighted parameter step and its weighted statistics."""
    return trees.scale(Variables(trees.sub(trained.params, start.params), trained.stats), weight)
