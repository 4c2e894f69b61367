"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fedjax_sparse.models import model
from fedjax_sparse.models.layers import Network


class MLP(Network):
    """Dense layers with ReLU between them, on the flattened input."""

    hidden: tuple[int, ...] = (128, 128)

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, ...] -> [B, classes]."""
        del train, mask
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = nn.relu(self.dense(x, features))
        return self.dense(x, self.classes)


def mlp(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    hidden: Sequence[int] = (128, 128),
) -> model.Model:
    """784-128-128-10 (118,282 parameters) on MNIST, as in FedSparsify (arXiv:2204.12430).

    Args:
        input_shape: Any.
        classes: Number of outputs.
        dtype: Of parameters and computation.
        hidden: Sizes of the hidden layers.
    """
    return model.from_network("mlp", MLP(classes, dtype, hidden=tuple(hidden)), input_shape)
