"""Convolutions that state their own gradients, for one model or one of every client.

`conv` is bilinear; it and its two gradients come from one trilinear form, sum(conv(x, kernel) * g),
so that the derivatives of each are the other two. Stated as three `custom_vjp` functions, reverse mode is closed (of
any order), and every convolution that XLA sees is a plain NHWC/HWIO one.

That matters inside loops on CPU, where XLA leaves the transposed dimension numbers of JAX's own rules to a naive loop.
Measured in a loop on one quiet core, milliseconds and, in brackets, Gflop/s (a large matrix product: 200):

| layer (batch, image, window, channels, stride) | forward | gradient: input | kernel | the same by JAX's rules |
|---|---|---|---|---|
| FEMNIST CNN: 20, 14x14, 5x5, 32 to 64, 1 | 1.9 (210) | 1.9 (211) | 2.0 (196) | 1.9, 27, 211 |
| CIFAR-10 CNN: 10, 30x30, 3x3, 32 to 64, 1 | 1.4 (208) | 1.9 (156) | 2.3 (125) | 1.8, 14, 215 |
| ResNet: 16, 32x32, 3x3, 64 to 64, 1 | 6.5 (187) | 6.6 (184) | 10.9 (111) | 6.5, 59, 1061 |
| ResNet: 16, 32x32, 3x3, 64 to 128, 2 | 3.2 (186) | 3.6 (166) | 6.5 (93) | 3.3, 17, 558 |

Where the padding is done counts: inside XLA's convolution the kernel gradients take 2.0, 10.9 and 0.24 ms (the last:
first layer of the FEMNIST CNN), done beforehand 3.5, 28 and 0.40. What needs no padding gets a spare column for the
same reason: 1.4 against 2.0 ms forward, 2.4 against 3.1 in the kernel gradient of the CIFAR-10 CNN's second layer.

On processors without AVX-512 the kernel gradients were far from that, and on an Intel core with AVX-512 too (52 ms for
the third row). XLA 0.10 gives what convolutions it can to YNNPACK, which is slow with windows as large as a kernel
gradient has; Eigen is not. YNNPACK takes none with zeros between the pixels, so that a kernel gradient with many
channels is asked for on a grid twice as fine: pixels and window spread by two, strides of two, the same numbers.
Milliseconds of one AMD core (AVX2) in a loop, median of seven; PyTorch 2.13's own layers from another hour:

| kernel gradient of (batch, image, window, channels, stride) | YNNPACK | Eigen | on a finer grid | PyTorch |
|---|---|---|---|---|
| ResNet-18: 16, 32x32, 3x3, 64 to 64, 1 | 34 | 15 | 23 | 27 |
| ResNet-18: 16, 16x16, 3x3, 128 to 128, 1 | 35 | 15 | 15 | 23 |
| ResNet-18: 16, 8x8, 3x3, 256 to 256, 1 | 24 | 15 | 16 | 25 |
| FEMNIST CNN: 20, 14x14, 5x5, 32 to 64, 1 | 9.4 | 5.6 | 6.8 | |
| CIFAR-10 CNN: 10, 30x30, 3x3, 32 to 64, 1 | 8.2 | 3.6 | 6.1 | |
| ResNet-20: 16, 16x16, 3x3, 32 to 32, 1 | 2.3 | 1.1 | 1.9 | 1.7 |

Before, a product of patches for each example was taken (38, 29, 23, 9.1, 7.3 and 2.5 ms). Against that a round on two
cores takes 0.93 of the time for ResNet-18 and FEMNIST's CNN, 1.01 for ResNet-20 and 1.05 for the CIFAR-10 CNN. With 16
channels and batches of 16 YNNPACK stands back by itself. Not measured with AVX-512. All convolutions to Eigen, by XLA's
option (`xla_cpu_experimental_ynn_fusion_type=-individual_convolution`), are no gain: in first layers, of few channels,
YNNPACK takes a fifth to a half of the time (FEMNIST's CNN: 0.44 and 2.5 ms), and forward in the others they are level.

What did not help on CPU: im2col and a matrix product in place of plain convolutions (0.5 to 5 times the time forward,
0.9 to 10 times in the input gradient, 0.6 to 2.5 times in the kernel gradient), one matrix product for each window
position, scattering columns back (col2im), and im2col with a batched product over eight clients (1 to 5 times the time
of one client after another; less only in a first layer of three channels, which is cheap). In first layers im2col takes
0.96 ms forward in place of 1.40 (16 images of 32x32, 3 to 16 channels), but 1.86 in place of 1.29 with 64 outputs and
1.1 in place of 0.43 in the FEMNIST CNN: no rule. The exception became a rule: with a 1x1 window im2col is mere
subsampling, and the kernel gradient five times faster. On accelerators per-client kernels take im2col, because grouped
convolutions are reported slow there (jax-ml/jax issues 13800, 26266, 26568); this was not measured.

Axis letters: B batch, H and W image, h and w kernel, I and O channels in and out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fedjax_sparse.devices import platforms

Pads = tuple[tuple[int, int], tuple[int, int]]
Padding = Literal["SAME", "VALID"] | Pads


class Geometry(NamedTuple):
    """What a convolution's gradients need to know besides arrays: sizes (height, width), strides and paddings."""

    image: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: Pads


NO_PADS = ((0, 0), (0, 0))

MANY_CHANNELS = 32  # of a layer's inputs, from which on its kernel's gradient takes the finer grid on CPU


class Slide(NamedTuple):
    """How a kernel slides over an image: zeros around the pixels and between them, strides, gaps in the kernel."""

    pads: Pads
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    kernel_dilation: tuple[int, int] = (1, 1)


def conv(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Padding) -> jax.Array:
    """Two-dimensional convolution (cross-correlation), as `lax.conv_general_dilated` in NHWC/HWIO.

    Reverse mode only, of any order: forward mode (`jax.jvp`) is refused unless the window is 1x1.

    Args:
        x: [B, H, W, I].
        kernel: [h, w, I, O]; under `vmap` every client may have its own.
        strides: Along height and width.
        padding: "SAME", "VALID" or ((low, high), (low, high)), non-negative.

    Returns:
        [B, H', W', O] in the dtype of `x`.
    """
    (_, height, width, _), (h, w, _, _) = x.shape, kernel.shape
    if isinstance(padding, str):
        vertical, horizontal = lax.padtype_to_pads((height, width), (h, w), strides, padding)
    else:
        vertical, horizontal = padding
    pads = (vertical, horizontal)
    if (h, w) == (1, 1):
        return jnp.matmul(_pad(x, pads)[:, :: strides[0], :: strides[1]], kernel[0, 0])
    return _conv(Geometry((height, width), (h, w), strides, pads), x, kernel)


def _pad(x, pads, dilation=(1, 1)):
    """Puts zeros around the pixels of x[B, H, W, C] (cuts off, where negative), and between them."""
    inner = [(low, high, step - 1) for (low, high), step in zip(pads, dilation, strict=True)]
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *inner, (0, 0, 0)))


def _plain_conv(slide, x, kernel):
    """[B, H, W, I], [h, w, I, O] -> [B, H', W', O], as one of XLA's convolutions.

    On CPU it pads by itself, which is up to four times as fast as padding beforehand, and what needs no padding gets
    a column of it all the same, cut off afterwards: that takes XLA's faster way (the docstring above has the times).
    """
    spare = slide.pads == NO_PADS and slide.dilation == (1, 1) and platforms.current().pads_without_need
    out = lax.conv_general_dilated(
        x,
        kernel,
        slide.strides,
        ((0, 0), (0, 1)) if spare else slide.pads,
        lhs_dilation=slide.dilation,
        rhs_dilation=slide.kernel_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    if not spare:
        return out
    reach = (kernel.shape[1] - 1) * slide.kernel_dilation[1] + 1
    return out[:, :, : (x.shape[2] - reach) // slide.strides[1] + 1]


def _patches(x, strides, window, steps):
    """im2col, [B, H, W, I] -> [B, H', W', h * w * I]: what the kernel meets at each of its H', W' positions."""
    last = [(count - 1) * stride + 1 for count, stride in zip(steps, strides, strict=True)]
    return jnp.concatenate(
        [
            x[:, i : i + last[0] : strides[0], j : j + last[1] : strides[1]]
            for i in range(window[0])
            for j in range(window[1])
        ],
        axis=-1,
    )


def _per_client(as_product: Callable) -> Callable:
    """Gives function(slide, a, b) a rule for `vmap` with a kernel (or cotangent) for every client.

    JAX's own rule makes a grouped convolution: on CPU 90 times slower (eight clients, second layer of the CIFAR-10
    CNN), on GPU reported to be slow.

    Args:
        as_product: The same function as im2col and a matrix product, for accelerators.
    """

    def decorate(function):
        def with_rule(slide, a, b):
            @jax.custom_batching.custom_vmap
            def call(a, b):
                return function(slide, a, b)

            @call.def_vmap
            def rule(axis_size, in_batched, a, b):
                a, b = (
                    array if batched else jnp.broadcast_to(array, (axis_size, *array.shape))
                    for array, batched in zip((a, b), in_batched, strict=True)
                )
                if platforms.current().side_by_side:
                    return jax.vmap(functools.partial(as_product, slide))(a, b), True
                return lax.map(lambda pair: call(*pair), (a, b)), True

            return call(a, b)

        return with_rule

    return decorate


def _slide_as_product(slide, x, kernel):
    x, window = _pad(x, slide.pads, slide.dilation), kernel.shape[:2]
    steps = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:3], window, slide.strides, strict=True)]
    return jnp.matmul(_patches(x, slide.strides, window, steps), kernel.reshape(-1, kernel.shape[-1]))


@_per_client(_slide_as_product)
def _convolve(slide, x, kernel):
    """[B, H, W, I], [h, w, I, O] -> [B, H', W', O]."""
    return _plain_conv(slide, x, kernel)


def _correlate_as_product(slide, x, g):
    x, steps, channels = _pad(x, slide.pads), g.shape[1:3], (x.shape[-1], g.shape[-1])
    window = [n - (m - 1) * s for n, m, s in zip(x.shape[1:3], steps, slide.strides, strict=True)]
    patches = _patches(x, slide.strides, window, steps)
    return jnp.tensordot(patches, g, ((0, 1, 2), (0, 1, 2))).reshape(*window, *channels)


def _on_a_finer_grid(slide):
    """The same convolution with zeros between all that it meets, which XLA's YNNPACK leaves to Eigen."""

    def doubled(pair):
        return 2 * pair[0], 2 * pair[1]

    vertical, horizontal = slide.pads
    return Slide((doubled(vertical), doubled(horizontal)), *map(doubled, slide[1:]))


@_per_client(_correlate_as_product)
def _correlate(slide, x, g):
    """[B, H, W, I], [B, H', W', O] -> [h, w, I, O]: the batch is summed as channels are, `g` slides as a kernel."""
    turned = Slide(slide.pads, kernel_dilation=slide.strides)
    if x.shape[-1] >= MANY_CHANNELS and platforms.current().avoids_ynnpack:
        turned = _on_a_finer_grid(turned)
    return _plain_conv(turned, x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)).transpose(1, 2, 0, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(geometry, x, kernel):
    return _convolve(Slide(geometry.pads, geometry.strides), x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv_input_gradient(geometry, g, kernel):
    """[B, H', W', O] -> [B, H, W, I]: the stride becomes dilation, the kernel is flipped and transposed."""
    vertical, horizontal = (
        (window - 1 - low, size + low - (steps - 1) * stride - 1)
        for size, window, stride, (low, _), steps in zip(*geometry, g.shape[1:3], strict=True)
    )
    flipped = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    return _convolve(Slide((vertical, horizontal), dilation=geometry.strides), g, flipped)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv_kernel_gradient(geometry, x, g):
    """[B, H, W, I], [B, H', W', O] -> [h, w, I, O]; rows and columns that the kernel never reached are cut."""
    vertical, horizontal = (
        (low, window + (steps - 1) * stride - size - low)
        for size, window, stride, (low, _), steps in zip(*geometry, g.shape[1:3], strict=True)
    )
    return _correlate(Slide((vertical, horizontal), geometry.strides), x, g)


def _keep_inputs(function):
    return lambda geometry, a, b: (function(geometry, a, b), (a, b))


def _conv_backward(geometry, inputs, g):
    x, kernel = inputs
    return _conv_input_gradient(geometry, g, kernel), _conv_kernel_gradient(geometry, x, g)


def _input_gradient_backward(geometry, inputs, x):
    g, kernel = inputs
    return _conv(geometry, x, kernel), _conv_kernel_gradient(geometry, x, g)


def _kernel_gradient_backward(geometry, inputs, kernel):
    x, g = inputs
    return _conv_input_gradient(geometry, g, kernel), _conv(geometry, x, kernel)


_conv.defvjp(_keep_inputs(_conv), _conv_backward)
_conv_input_gradient.defvjp(_keep_inputs(_conv_input_gradient), _input_gradient_backward)
_conv_kernel_gradient.defvjp(_keep_inputs(_conv_kernel_gradient), _kernel_gradient_backward)
