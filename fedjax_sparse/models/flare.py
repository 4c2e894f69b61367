"""The networks of FLARE's experiments (Greidi and Cohen, arXiv:2312.13795), as one would expect and as in its code.

The official code does what nobody would expect, and what is an option here: no ReLU between dense layers, a second
softmax, convolutions without ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fedjax_sparse.models import model
from fedjax_sparse.models.layers import Network, max_pool


class FullyConnected(Network):
    """Dense layers on the flattened input; Glorot normal.

    Attributes:
        hidden: Sizes of the hidden layers.
        linear: Whether there is no ReLU between them, so that the network is a product of matrices.
    """

    hidden: tuple[int, ...] = (4069, 4069, 4069)
    linear: bool = False

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, ...] -> [B, classes]."""
        del train, mask
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = self.dense(x, features, kernel_init=nn.initializers.glorot_normal())
            x = x if self.linear else nn.relu(x)
        return self.dense(x, self.classes, kernel_init=nn.initializers.glorot_normal())


class CNN(Network):
    """Two 5x5 convolutions without padding, each followed by pooling, and two dense layers; Glorot normal.

    Attributes:
        double_softmax: Whether a softmax is taken before the loss takes its own: the outputs are probabilities, and
            the loss of 10 classes stays above 1.461.
    """

    double_softmax: bool = False

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""
        del train, mask
        init = nn.initializers.glorot_normal()
        x = max_pool(nn.relu(self.conv(x, 32, 5, padding="VALID", kernel_init=init)))
        x = max_pool(nn.relu(self.conv(x, 64, 5, padding="VALID", kernel_init=init)))
        x = nn.relu(self.dense(x.reshape(x.shape[0], -1), 512, kernel_init=init))
        x = self.dense(x, self.classes, kernel_init=init)
        return nn.softmax(x) if self.double_softmax else x


class VGG(Network):
    """Five stages of 3x3 convolutions, each closed by pooling, then two wide dense layers with dropout; no norm.

    Attributes:
        depths: Convolutions in each stage.
        relu_by_stage: Whether only the last convolution of a stage is followed by ReLU.
    """

    depths: tuple[int, ...] = (1, 1, 2, 2, 2)
    relu_by_stage: bool = False

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""
        del mask
        for features, depth in zip((64, 128, 256, 512, 512), self.depths, strict=True):
            for i in range(depth):
                x = self.conv(x, features, 3)
                x = x if self.relu_by_stage and i < depth - 1 else nn.relu(x)
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for _ in range(2):
            x = self.dropout(nn.relu(self.dense(x, 4096)), 0.5, train)
        return self.dense(x, self.classes)


def fc(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    hidden: Sequence[int] = (4069, 4069, 4069),
    linear: bool = False,
) -> model.Model:
    """784-4069-4069-4069-10: 36,356,525 parameters on MNIST; 4069 as in the official code.

    Args:
        input_shape: Any.
        classes: Number of outputs.
        dtype: Of parameters and computation.
        hidden: Sizes of the hidden layers.
        linear: Whether there is no ReLU between the layers, as in the official code.
    """
    network = FullyConnected(classes, dtype, hidden=tuple(hidden), linear=linear)
    return model.from_network("flare_fc", network, input_shape)


def cnn(
    input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32, double_softmax: bool = False
) -> model.Model:
    """Two convolutions and two dense layers: 582,026 parameters on MNIST.

    Args:
        input_shape: (height, width, channels), at least 16x16.
        classes: Number of outputs.
        dtype: Of parameters and computation.
        double_softmax: Whether the outputs pass through two softmaxes, as in the official code.
    """
    model.require_image("flare_cnn", input_shape, 16)
    return model.from_network("flare_cnn", CNN(classes, dtype, double_softmax=double_softmax), input_shape)


def _vgg(name, depths, input_shape, classes, dtype, relu_by_stage=False):
    model.require_image(name, input_shape, 32)
    network = VGG(classes, dtype, depths=depths, relu_by_stage=relu_by_stage)
    return model.from_network(name, network, input_shape)


def vgg11(
    input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32, relu_by_stage: bool = False
) -> model.Model:
    """VGG-11 with two hidden dense layers: 28,144,010 parameters on CIFAR-10.

    Args:
        input_shape: (height, width, channels), at least 32x32.
        classes: Number of outputs.
        dtype: Of parameters and computation.
        relu_by_stage: Whether of two convolutions in a row only the second has a ReLU, as in the official code.
    """
    return _vgg("flare_vgg11", (1, 1, 2, 2, 2), input_shape, classes, dtype, relu_by_stage)


def vgg16(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """VGG-16 with two hidden dense layers: 33,638,218 parameters on CIFAR-10."""
    return _vgg("flare_vgg16", (2, 2, 3, 3, 3), input_shape, classes, dtype)


def vgg19(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """VGG-19 with two hidden dense layers: 38,947,914 parameters on CIFAR-10."""
    return _vgg("flare_vgg19", (2, 2, 4, 4, 4), input_shape, classes, dtype)
