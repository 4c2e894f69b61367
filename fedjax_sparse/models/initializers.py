"""Initial weights other than a model's own: those of another library, where a curve or a mask depends on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.models.layers import drawn_in_float32
from fedjax_sparse.types import PyTree

Initializer = Callable[..., jax.Array]  # (key, shape, dtype) -> array


class Scheme(NamedTuple):
    """How dense and convolutional layers start.

    Attributes:
        kernel: Draws a kernel.
        bias: The layer's number of inputs to each output -> what draws its bias.
    """

    kernel: Initializer
    bias: Callable[[int], Initializer]


def _zero(inputs: int) -> Initializer:
    del inputs
    return nn.initializers.zeros


def _uniform(inputs: int) -> Initializer:
    bound = inputs**-0.5
    return lambda *args: nn.initializers.uniform(2 * bound)(*args) - bound


SCHEMES: dict[str, Scheme] = {
    "glorot": Scheme(
        nn.initializers.glorot_uniform(), _zero
    ),  # uniform, variance 2 / (inputs + outputs); Keras
    "he": Scheme(nn.initializers.he_normal(), _zero),  # truncated normal, variance 2 / inputs
    "lecun": Scheme(nn.initializers.lecun_normal(), _zero),  # truncated normal, variance 1 / inputs; Flax
    # Uniform, variance 1 / (3 inputs), biases as well; PyTorch.
    "torch": Scheme(nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"), _uniform),
}


def redraw(scheme: Scheme, params: PyTree, kinds: PyTree, key: jax.Array) -> PyTree:
    """Draws kernels and their biases anew; norms and embeddings stay as they are.

    Args:
        scheme: See `SCHEMES`.
        params: A model's parameters.
        kinds: See `Model.kinds`.
        key: A leaf's draw depends on the key and on the leaf's place among all leaves.
    """
    leaves, treedef = jax.tree.flatten(params)
    layers = [name.rpartition("/")[0] for name in trees.names(params)]
    of = treedef.flatten_up_to(kinds)
    inputs = {
        layer: math.prod(leaf.shape[:-1])
        for layer, kind, leaf in zip(layers, of, leaves, strict=True)
        if kind == "kernel"
    }

    def one(i: int, layer: str, kind: str, leaf: jax.Array) -> jax.Array:
        if kind not in ("kernel", "bias"):
            return leaf
        draw = scheme.kernel if kind == "kernel" else scheme.bias(inputs[layer])
        return drawn_in_float32(draw)(jax.random.fold_in(key, i), leaf.shape, jnp.dtype(leaf.dtype))

    return treedef.unflatten([one(i, *parts) for i, parts in enumerate(zip(layers, of, leaves, strict=True))])
