"""Dense layers and convolutions as replaceable operations, and the small Flax modules that hold their weights.

**Ops.** Models call `ops.dense` and `ops.conv` instead of `flax.linen.Dense` and `Conv`, so that an algorithm can
change a layer's weights or gradient without a second model.

Axis letters: B batch, H and W image, h and w kernel, I and O channels in and out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from fedjax_sparse.devices import platforms
from fedjax_sparse.models.convolution import Padding, conv


class Ops(NamedTuple):
    """The two operations that hold prunable weights.

    Attributes:
        dense: (name, x[..., I], kernel[I, O]) -> [..., O].
        conv: (name, x[B, H, W, I], kernel[h, w, I, O], strides, padding) -> [B, H', W', O].

    `name` is the path of the kernel's leaf in the parameters, such as "Dense_0/kernel".
    """

    dense: Callable[[str, jax.Array, jax.Array], jax.Array]
    conv: Callable[[str, jax.Array, jax.Array, tuple[int, int], Padding], jax.Array]


FEW_OUTPUTS = 32  # of a dense layer


def dense(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The matrix product [..., I] @ [I, O] -> [..., O].

    With few outputs, as a last layer has, XLA's product for the kernel's gradient is slow on CPU. The gradient of the
    kernel's transpose is not: softmax regression on 784 inputs, with 10 outputs, takes a step of ten examples in 15 us,
    not in 25, on one AMD core (20 where the forward product is turned too).
    """
    if kernel.shape[-1] > FEW_OUTPUTS or not platforms.current().turns_small_layers:
        return jnp.matmul(x, kernel)
    return lax.dot_general(x, _apart_in_gradients(kernel.T), (((x.ndim - 1,), (1,)), ((), ())))


@jax.custom_jvp
def _apart_in_gradients(x: jax.Array) -> jax.Array:
    """The identity, of which XLA sees nothing in a value, but a barrier in tangents and gradients.

    So it undoes the transposition before this in the forward product, where that is well, and not in the gradient.
    """
    return x


@_apart_in_gradients.defjvp
def _(primals, tangents):
    return primals[0], lax.optimization_barrier(tangents[0])


DEFAULT = Ops(
    dense=lambda name, x, kernel: dense(x, kernel),
    conv=lambda name, x, kernel, strides, padding: conv(x, kernel, strides, padding),
)


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over non-overlapping 2x2 windows, [B, H, W, C] -> [B, H//2, W//2, C]; an odd last row or column is cut.

    Written as a reshape because the gradient of `lax.reduce_window` (select-and-scatter) is slow inside loops on CPU.
    Entries of a window that tie for the maximum share its gradient equally.
    """
    return _windows(x).max((2, 4))


def average_pool(x: jax.Array) -> jax.Array:
    """Mean over non-overlapping 2x2 windows, [B, H, W, C] -> [B, H//2, W//2, C]; an odd last row or column is cut."""
    return _windows(x).mean((2, 4))


def _windows(x):
    batch, height, width, channels = x.shape
    even = x[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(batch, height // 2, 2, width // 2, 2, channels)


def _add_bias(x, bias):
    return x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def drawn_in_float32(init: Callable) -> Callable:
    """An initialiser that rounds afterwards, so that bfloat16 starts where float32 does; float64 is drawn as such."""

    def draw(key, shape, dtype):
        return init(key, shape, jnp.promote_types(dtype, jnp.float32)).astype(dtype)

    return draw


class Dense(nn.Module):
    """x @ kernel + bias, through `ops.dense`."""

    features: int
    dtype: Any = jnp.float32
    ops: Ops = DEFAULT
    kernel_init: Callable = nn.initializers.glorot_uniform()

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., I] -> [..., features]."""
        return self.affine(x.shape[-1])(x)

    @nn.compact
    def affine(self, inputs: int) -> Callable[[jax.Array], jax.Array]:
        """The layer as a pure function, which may be called inside `lax.scan`; a Flax module may not."""
        kernel = self.param("kernel", drawn_in_float32(self.kernel_init), (inputs, self.features), self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.dtype)
        name = "/".join((*self.path, "kernel"))
        return lambda x: _add_bias(self.ops.dense(name, x, kernel), bias)


class Conv(nn.Module):
    """A convolution through `ops.conv`, with or without bias."""

    features: int
    window: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = jnp.float32
    ops: Ops = DEFAULT
    kernel_init: Callable = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, I] -> [B, H', W', features]."""
        shape = (*self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", drawn_in_float32(self.kernel_init), shape, self.dtype)
        x = self.ops.conv("/".join((*self.path, "kernel")), x, kernel, self.strides, self.padding)
        if not self.use_bias:
            return x
        return _add_bias(x, self.param("bias", nn.initializers.zeros, (self.features,), self.dtype))


class GroupNorm(nn.Module):
    """Group normalisation (Wu and He, arXiv:1803.08494), with the parameters and the epsilon of PyTorch's.

    `flax.linen.GroupNorm` in other words: an example's channel is scaled and shifted by two numbers, which come from
    the sums over its positions of x and of x squared. So a gradient too takes two sums and one pass of products: with
    ReLU, forward and back, [16, 32, 32, 16] take 0.62 ms where Flax's reductions over split channels take 4.0 and
    PyTorch's layer 1.9 (one AMD core without AVX-512, shared).

    Attributes:
        groups: A divisor of the number of channels.
        dtype: Of parameters and results; statistics are float32 at least.
    """

    groups: int
    dtype: Any = jnp.float32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), self.dtype)
        pixels = x.reshape(len(x), -1, x.shape[-1]).astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = self._over_groups(pixels.mean(1))
        variance = jnp.maximum(self._over_groups((pixels * pixels).mean(1)) - mean * mean, 0)
        factor = lax.rsqrt(variance + self.epsilon) * scale[None]
        shift = bias[None] - mean * factor
        return (pixels * factor[:, None] + shift[:, None]).reshape(x.shape).astype(self.dtype)

    def _over_groups(self, means):
        """[B, C] -> [B, C]: each channel gets the mean of its group's."""
        grouped = means.reshape(len(means), self.groups, -1)
        return jnp.broadcast_to(grouped.mean(-1, keepdims=True), grouped.shape).reshape(means.shape)


class Network(nn.Module):
    """Base of all models: what every layer of a model shares, handed down in one place.

    Attributes:
        classes: Number of outputs.
        dtype: Of parameters and computation.
        ops: What the layers call.
        unbiased: Whether BatchNorm's running variances are averages of unbiased variances of batches.
    """

    classes: int
    dtype: Any = jnp.float32
    ops: Ops = DEFAULT
    unbiased: bool = False

    def dense(self, x: jax.Array, features: int, **options) -> jax.Array:
        """A dense layer on [..., I]."""
        return Dense(features, dtype=self.dtype, ops=self.ops, **options)(x)

    def conv(self, x: jax.Array, features: int, window: int, stride: int = 1, **options) -> jax.Array:
        """A convolution with a square window on [B, H, W, I]."""
        shape = (features, (window, window), (stride, stride))
        return Conv(*shape, dtype=self.dtype, ops=self.ops, **options)(x)

    def batch_norm(self, x: jax.Array, train: bool, mask: jax.Array | None, **options) -> jax.Array:
        """BatchNorm on [B, H, W, C]; examples whose `mask` (bool[B]) is False stay out of the statistics.

        A batch is normalised by its biased variance, over n = examples times positions. The same enters the running
        one, that of evaluation, as in Flax; with `unbiased`, n / (n - 1) of it, as in PyTorch and, on images, Keras.
        """
        norm = nn.BatchNorm(not train, dtype=self.dtype, param_dtype=self.dtype, **options)
        before = norm.get_variable("batch_stats", "var")
        y = norm(x, mask=None if mask is None else mask.reshape(-1, 1, 1, 1))
        if train and self.unbiased:
            examples = x.shape[0] if mask is None else jnp.sum(mask)
            n = examples * x.shape[1] * x.shape[2]
            kept = options["momentum"] * before
            new = norm.get_variable("batch_stats", "var") - kept
            norm.put_variable("batch_stats", "var", kept + new * (n / jnp.maximum(n - 1, 1)))
        return y

    def group_norm(self, x: jax.Array, groups: int) -> jax.Array:
        """GroupNorm on [B, H, W, C]."""
        return GroupNorm(groups, dtype=self.dtype)(x)

    def dropout(self, x: jax.Array, rate: float, train: bool) -> jax.Array:
        """Sets entries to zero with probability `rate` and scales the others up, in training only."""
        return nn.Dropout(rate, deterministic=not train)(x)
