"""Residual networks for small images (He et al., arXiv:1512.03385), with GroupNorm or BatchNorm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from fedjax_sparse.errors import UsageError
from fedjax_sparse.models import model
from fedjax_sparse.models.layers import Network

Norm = Literal["group", "batch"]
GROUPS = 8  # of GroupNorm in the networks for CIFAR


class ResNet(Network):
    """Stages of basic blocks behind one 3x3 convolution; every stage but the first halves the image.

    Attributes:
        widths: Channels of each stage.
        blocks: Number of blocks in each stage.
        norm: "group" or "batch".
        groups: Number of groups of GroupNorm.
        project: Where a shortcut changes shape: a 1x1 convolution with norm, or subsampling and zero channels.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 2
    norm: Norm = "group"
    groups: int = 32
    project: bool = True

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""

        def conv_norm(x, features, window, stride=1):
            x = self.conv(
                x, features, window, stride, use_bias=False, kernel_init=nn.initializers.he_normal()
            )
            if self.norm == "group":
                return self.group_norm(x, self.groups)
            return self.batch_norm(x, train, mask, momentum=0.9, epsilon=1e-5)

        def shortcut(x, features, stride):
            if x.shape[-1] == features and stride == 1:
                return x
            if self.project:
                return conv_norm(x, features, 1, stride)
            extra = features - x.shape[-1]
            return jnp.pad(
                x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (extra // 2, extra - extra // 2))
            )

        x = nn.relu(conv_norm(x, self.widths[0], 3))
        for stage, features in enumerate(self.widths):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                y = nn.relu(conv_norm(x, features, 3, stride))
                x = nn.relu(conv_norm(y, features, 3) + shortcut(x, features, stride))
        return self.dense(x.mean((1, 2)), self.classes)


def resnet18(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    norm: Norm = "group",
    unbiased: bool = False,
) -> model.Model:
    """ResNet-18 with a 3x3 stem and no first pooling: 11,173,962 parameters for 10 classes.

    Args:
        input_shape: (height, width, channels).
        classes: Number of outputs.
        dtype: Of parameters and computation.
        norm: "group" (32 groups) or "batch".
        unbiased: BatchNorm's running variances, as in PyTorch, see `layers.Network.batch_norm`.
    """
    return _on_images("resnet18", ResNet(classes, dtype, norm=norm, unbiased=unbiased), input_shape)


def resnet8(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    norm: Norm = "group",
    width: int = 16,
    unbiased: bool = False,
) -> model.Model:
    """ResNet-8, one block a stage, otherwise as `resnet20`: 75,290 parameters for 10 classes."""
    network = _for_cifar("resnet8", 1, width, norm)(classes, dtype, unbiased=unbiased)
    return _on_images("resnet8", network, input_shape)


def resnet20(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    norm: Norm = "group",
    width: int = 16,
    unbiased: bool = False,
) -> model.Model:
    """ResNet-20 for CIFAR with parameter-free shortcuts (option A): 269,722 parameters for 10 classes.

    Args:
        input_shape: (height, width, channels).
        classes: Number of outputs.
        dtype: Of parameters and computation.
        norm: "group" (8 groups) or "batch".
        width: Channels of the first stage; the next ones have twice and four times as many.
        unbiased: BatchNorm's running variances, as in PyTorch, see `layers.Network.batch_norm`.
    """
    network = _for_cifar("resnet20", 3, width, norm)(classes, dtype, unbiased=unbiased)
    return _on_images("resnet20", network, input_shape)


def _for_cifar(name: str, blocks: int, width: int, norm: Norm) -> Callable[..., ResNet]:
    """Three stages of so many blocks, each twice as wide as the one before."""
    if norm == "group" and width % GROUPS:
        raise UsageError(
            f"width = {width} of {name} with GroupNorm is not possible; allowed: multiples of {GROUPS}"
        )
    widths = (width, 2 * width, 4 * width)
    return functools.partial(ResNet, widths=widths, blocks=blocks, norm=norm, groups=GROUPS, project=False)


def _on_images(name: str, network: ResNet, input_shape: tuple[int, ...]) -> model.Model:
    model.require_image(name, input_shape, 1)
    return model.from_network(name, network, input_shape)
