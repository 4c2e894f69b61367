"""Linear models: one dense layer on the flattened input, and the loss that gives it its name."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fedjax_sparse import errors
from fedjax_sparse.models import model
from fedjax_sparse.models.layers import Network


class Linear(Network):
    """x @ kernel + bias, starting from zero: the problems are convex."""

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, ...] -> [B, classes]."""
        del train, mask
        return self.dense(x.reshape(x.shape[0], -1), self.classes, kernel_init=nn.initializers.zeros)


def linear(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """Linear regression; the loss is the squared error, summed over the targets (y: f[B] or f[B, classes])."""
    return model.from_network("linear", Linear(classes, dtype), input_shape, model.REGRESSION)


def logistic(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """Binary logistic regression with one logit; y is 0 or 1."""
    if classes != 2:
        raise errors.UsageError(f"model logistic takes 2 classes, not {classes}; use softmax")
    return model.from_network("logistic", Linear(1, dtype), input_shape, model.BINARY)


def softmax(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """Softmax regression (multinomial logistic regression)."""
    return model.from_network("softmax", Linear(classes, dtype), input_shape)
