"""Powerpropagation (arXiv 2110.00296): a weight is a power of the parameter that is trained in its place.

Written w = sign(theta) |theta|^beta with beta > 1. Small parameters learn slowly, and one at zero stays there: the
gradient with respect to theta is that of w times beta |theta|^(beta - 1).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from fedjax_sparse.types import PyTree


def power(theta: jax.Array, exponent: ArrayLike) -> jax.Array:
    """sign(theta) |theta|^exponent, with derivatives of any order and no NaN at zeros.

    Args:
        theta: f[...].
        exponent: f[], above 0; may be traced. At 1 this is the identity, whose derivative is 1 at 0 as well; at any
            other exponent the derivative at 0 is 0.
    """
    wide = jnp.promote_types(theta.dtype, jnp.float32)
    x, exponent = theta.astype(wide), jnp.asarray(exponent, wide)
    zero = x == 0
    # A zero is kept out of the power itself: the derivative there may be infinite, and 0 * inf is NaN.
    safe = jnp.where(zero, 1, x)
    powered = jnp.where(zero, 0, jnp.sign(safe) * jnp.abs(safe) ** exponent)
    return jnp.where(exponent == 1, x, powered).astype(theta.dtype)


def effective(params: PyTree, exponents: PyTree) -> PyTree:
    """The weights that the model computes with; `exponents` has an f[] (or a float) for each leaf."""
    return jax.tree.map(power, params, exponents)


def raw(weights: PyTree, exponents: PyTree) -> PyTree:
    """The inverse of `effective`: the parameters behind an initial draw of weights."""
    return jax.tree.map(lambda leaf, exponent: power(leaf, 1 / exponent), weights, exponents)


def spectral_exponent(theta: jax.Array) -> jax.Array:
    """1 + mean |theta| / sigma, f[] in at least float32, for a kernel theta[..., O]; 1 for a kernel of zeros.

    Sigma is the largest singular value of |theta| as a matrix [inputs, O], after one power iteration from the vector
    of ones, which no top singular vector of a non-negative matrix is orthogonal to.
    """
    theta = theta.astype(jnp.promote_types(theta.dtype, jnp.float32))
    matrix = jnp.abs(theta).reshape(-1, theta.shape[-1])
    left = jnp.sum(matrix, axis=1)
    left = left / jnp.maximum(jnp.linalg.norm(left), 1e-12)
    sigma = jnp.maximum(jnp.linalg.norm(left @ matrix), 1e-12)
    return 1 + jnp.mean(matrix) / sigma
