"""The small convolutional networks of the federated literature. Weights start Glorot uniform, biases zero."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fedjax_sparse.models import model
from fedjax_sparse.models.layers import Network, max_pool


def _flatten(x):
    return x.reshape(x.shape[0], -1)


class LeNet5(Network):
    """Two 5x5 convolutions and three dense layers."""

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""
        del train, mask
        # LeCun's network takes 32x32; MNIST's 28x28 were padded to that.
        padding = "VALID" if min(x.shape[1:3]) >= 32 else "SAME"
        x = max_pool(nn.relu(self.conv(x, 6, 5, padding=padding)))
        x = max_pool(nn.relu(self.conv(x, 16, 5, padding="VALID")))
        x = nn.relu(self.dense(_flatten(x), 120))
        x = nn.relu(self.dense(x, 84))
        return self.dense(x, self.classes)


class FemnistCNN(Network):
    """Two 5x5 convolutions, each followed by pooling, and a wide dense layer."""

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""
        del train, mask
        x = max_pool(nn.relu(self.conv(x, 32, 5)))
        x = max_pool(nn.relu(self.conv(x, 64, 5)))
        x = nn.relu(self.dense(_flatten(x), 2048))
        return self.dense(x, self.classes)


class PflCNN(Network):
    """Two 3x3 convolutions without padding, one pooling, dropout."""

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""
        del mask
        x = nn.relu(self.conv(x, 32, 3, padding="VALID"))
        x = max_pool(nn.relu(self.conv(x, 64, 3, padding="VALID")))
        x = _flatten(self.dropout(x, 0.25, train))
        x = self.dropout(nn.relu(self.dense(x, 128)), 0.5, train)
        return self.dense(x, self.classes)


class CifarCNN(Network):
    """Three pairs of 3x3 convolutions, the first two with BatchNorm after their pooling."""

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""
        for features, norm in ((64, True), (128, True), (128, False)):
            x = nn.relu(self.conv(x, features, 3))
            x = max_pool(nn.relu(self.conv(x, features, 3)))
            if norm:
                x = self.batch_norm(x, train, mask, momentum=0.99, epsilon=1e-3)
        x = nn.relu(self.dense(_flatten(x), 512))
        return self.dense(self.dropout(x, 0.2, train), self.classes)


def lenet5(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """LeNet-5 (LeCun et al., 1998) in its modern form with ReLU and max-pooling: 62,006 parameters on CIFAR-10.

    Images smaller than 32x32 are padded in the first convolution.
    """
    model.require_image("lenet5", input_shape, 12)
    return model.from_network("lenet5", LeNet5(classes, dtype), input_shape)


def femnist_cnn(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """LEAF's network for FEMNIST (Caldas et al., arXiv:1812.01097): 6,603,710 parameters at 28x28x1, 62 classes."""
    model.require_image("femnist_cnn", input_shape, 4)
    return model.from_network("femnist_cnn", FemnistCNN(classes, dtype), input_shape)


def pfl_cnn(input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32) -> model.Model:
    """pfl-research's network for CIFAR-10 (Granqvist et al., arXiv:2404.06430): 1,626,442 parameters."""
    model.require_image("pfl_cnn", input_shape, 6)
    return model.from_network("pfl_cnn", PflCNN(classes, dtype), input_shape)


def cifar_cnn(
    input_shape: tuple[int, ...], classes: int, *, dtype: Any = jnp.float32, unbiased: bool = False
) -> model.Model:
    """FedSparsify's network for CIFAR-10 (arXiv:2204.12430): 1,609,930 parameters, BatchNorm's included.

    Args:
        input_shape: (height, width, channels), at least 8x8.
        classes: Number of outputs.
        dtype: Of parameters and computation.
        unbiased: BatchNorm's running variances, as in the paper's Keras, see `layers.Network.batch_norm`.
    """
    model.require_image("cifar_cnn", input_shape, 8)
    return model.from_network("cifar_cnn", CifarCNN(classes, dtype, unbiased=unbiased), input_shape)
