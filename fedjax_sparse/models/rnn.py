"""The character-level GRU for next-character prediction."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_sparse import errors
from fedjax_sparse.models import model
from fedjax_sparse.models.layers import Dense, Network, drawn_in_float32


class GRU(Network):
    """Embedding, one GRU layer, a dense layer to the vocabulary at every position.

    The reset gate is applied after the recurrent product, with two biases (cuDNN's and Keras's form):
        r, z = sigmoid(x W_rz + b_rz + h U_rz + c_rz);  n = tanh(x W_n + b_n + r * (h U_n + c_n));
        h <- (1 - z) * n + z * h.
    """

    embedding: int = 256
    hidden: int = 1024

    @nn.compact
    def __call__(self, x, train, mask):
        """i[B, T] -> [B, T, classes]."""
        del train, mask
        init = drawn_in_float32(lambda *args: nn.initializers.uniform(0.1)(*args) - 0.05)
        table = self.param("embedding", init, (self.classes, self.embedding), self.dtype)
        shared = {"dtype": self.dtype, "ops": self.ops}
        from_input = Dense(3 * self.hidden, name="input", **shared)(table[x])
        recurrent = Dense(
            3 * self.hidden, name="recurrent", kernel_init=nn.initializers.orthogonal(), **shared
        ).affine(self.hidden)

        def step(h, inputs):
            reset_in, update_in, new_in = jnp.split(inputs, 3, axis=-1)
            reset_h, update_h, new_h = jnp.split(recurrent(h), 3, axis=-1)
            update = nn.sigmoid(update_in + update_h)
            new = jnp.tanh(new_in + nn.sigmoid(reset_in + reset_h) * new_h)
            h = (1 - update) * new + update * h
            return h, h

        start = jnp.zeros((x.shape[0], self.hidden), self.dtype)
        _, states = jax.lax.scan(step, start, from_input.swapaxes(0, 1))
        return self.dense(states.swapaxes(0, 1), self.classes)


def gru(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    embedding: int = 256,
    hidden: int = 1024,
) -> model.Model:
    """Character GRU: 4,048,470 parameters for a vocabulary of 86, as in FLARE's Shakespeare experiments.

    Args:
        input_shape: (time steps,); inputs are characters' numbers, labels the next characters' (-1: padding).
        classes: Size of the vocabulary.
        dtype: Of parameters and computation.
        embedding: Size of the embedding.
        hidden: Size of the state.
    """
    if len(input_shape) != 1:
        raise errors.UsageError(f"model gru takes texts of shape (time steps,), not {input_shape}")
    network = GRU(classes, dtype, embedding=embedding, hidden=hidden)
    return model.from_network("gru", network, input_shape, model.NEXT_CHARACTER, text=True)
