"""Scores that say how much a weight matters; the largest are kept. Each is a pytree shaped like the parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.types import PyTree

Loss = Callable[[PyTree], jax.Array]  # params -> f[]


def of_chosen(loss: Loss, among: PyTree) -> Loss:
    """The loss as a function of the chosen leaves alone: all others are constants, whose scores are 0.

    GraSP needs it: its g and H are those of what may be pruned.

    Args:
        loss: Of all parameters.
        among: Python bool for each leaf.
    """

    def loss_of_chosen(params: PyTree) -> jax.Array:
        return loss(jax.tree.map(lambda yes, w: w if yes else jax.lax.stop_gradient(w), among, params))

    return loss_of_chosen


def magnitude(params: PyTree) -> PyTree:
    """|w|."""
    return jax.tree.map(jnp.abs, params)


def random(key: jax.Array, params: PyTree) -> PyTree:
    """Uniform on [0, 1), in float32 whatever the parameters are, so that ties stay rare.

    Kept and thresholded again with a smaller count, the same scores give nested masks.
    """
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    draws = [jax.random.uniform(k, leaf.shape, jnp.float32) for k, leaf in zip(keys, leaves, strict=True)]
    return treedef.unflatten(draws)


def snip(loss: Loss, params: PyTree) -> PyTree:
    """|w g|, g the gradient of the loss: the effect of taking a weight away, to first order (arXiv 1810.02340).

    A bias that is still zero scores 0. No score is divided by their sum: the order is the same.
    """
    gradient = jax.grad(loss)(params)
    return jax.tree.map(lambda w, g: jnp.abs(w * g), params, gradient)


def grasp(loss: Loss, params: PyTree) -> PyTree:
    """The product w H g, g the gradient and H the Hessian of the loss (arXiv 2002.07376).

    Keeping the largest keeps the gradient's norm. The paper's score is -w H g, of which it removes the largest.
    The product H g is the gradient of <stop(g), gradient>: reverse mode over reverse mode, since a custom gradient
    (`custom_vjp`) knows no forward mode.
    """
    gradient = jax.lax.stop_gradient(jax.grad(loss)(params))
    curvature = jax.grad(lambda w: trees.dot(gradient, jax.grad(loss)(w)))(params)
    return jax.tree.map(jnp.multiply, params, curvature)
