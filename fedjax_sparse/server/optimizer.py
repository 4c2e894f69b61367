"""The server's step on the mean of what clients sent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_sparse import trees
from fedjax_sparse.server import aggregation
from fedjax_sparse.types import PyTree, Variables


class Server(NamedTuple):
    """A server that keeps no more than its model and the state of its optimiser."""

    variables: Variables
    opt: PyTree


def server_step(
    optimizer: optax.GradientTransformation,
    variables: Variables,
    opt_state: PyTree,
    total: Variables,
    weight: jax.Array,
) -> tuple[Variables, PyTree]:
    """One step of the server's optimiser, with minus the mean client step as its gradient (Reddi et al., 2003.00295).

    With `optax.sgd(1.0)` the new model is the weighted mean of the clients' models (FedAvg). Model statistics are
    averaged. When nobody came, nothing changes.

    Args:
        optimizer: The server's optax transformation.
        variables: The server's model.
        opt_state: Its optimiser's state.
        total: Weighted sums over the cohort: of the clients' steps (`params`) and of their statistics (`stats`).
        weight: f[C], the clients' weights.
    """
    return step_along(
        optimizer, variables, opt_state, aggregation.weighted_mean(total, weight), jnp.sum(weight) > 0
    )


def step_along(
    optimizer: optax.GradientTransformation,
    variables: Variables,
    opt_state: PyTree,
    mean: Variables,
    someone: jax.Array,
) -> tuple[Variables, PyTree]:
    """`server_step` along a mean that is known: the clients' mean step and their mean statistics.

    Args:
        optimizer: The server's optax transformation.
        variables: The server's model.
        opt_state: Its optimiser's state.
        mean: The step of the parameters, and the new statistics.
        someone: bool[]: whether anyone came; else nothing changes.
    """
    gradient = jax.tree.map(jnp.negative, mean.params)
    updates, new_opt = optimizer.update(gradient, opt_state, variables.params)
    new = Variables(optax.apply_updates(variables.params, updates), mean.stats)
    return trees.where(someone, (new, new_opt), (variables, opt_state))


def mask_moments(optimizer: optax.GradientTransformation, opt_state: PyTree, mask: PyTree) -> PyTree:
    """Moments outside the mask go back to where they start, so that no step leads out of it or carries old momentum in.

    That is zero but for the second moment of adaptive optimisers; what starts at zero and is masked makes no step.
    """
    start = optimizer.init(jax.tree.map(lambda keep: jnp.zeros(keep.shape), mask))
    kept = optax.tree_utils.tree_map_params(
        optimizer, lambda _, keep: keep, opt_state, mask, transform_non_params=lambda _: True
    )
    return jax.tree.map(
        lambda keep, moment, first: jnp.where(keep, moment, first.astype(moment.dtype)),
        kept,
        opt_state,
        start,
    )
