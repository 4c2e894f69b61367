"""FedProx's proximal term, as a wrapper of local training."""

from collections.abc import Callable

import jax

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import Gradient
from fedjax_sparse.types import PyTree, Trained


def pulled_to(gradient: Gradient, center: PyTree, strength: jax.Array | float) -> Gradient:
    """The gradient of loss + strength/2 ||w - center||^2; the loss that it reports is without that term."""

    def with_term(variables, batch):
        loss, stats, grads = gradient(variables, batch)
        return loss, stats, trees.add_scaled(grads, strength, trees.sub(variables.params, center))

    return with_term


def proximal_training(
    train: Callable[..., Trained], strength: Callable[[jax.Array], jax.Array | float]
) -> Callable[..., Trained]:
    """Local training that is held back to where it starts.

    Args:
        train: See `fedjax_sparse.types.Federation`.
        strength: Round number t -> mu_t in mu_t/2 ||w - w_start||^2.
    """

    def train_near_start(gradient, variables, client, t, key, **options):
        near = pulled_to(gradient, variables.params, strength(t))
        return train(near, variables, client, t, key, **options)

    return train_near_start
