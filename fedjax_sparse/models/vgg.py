"""VGG networks for small images (Simonyan and Zisserman, arXiv:1409.1556)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from fedjax_sparse.models import model
from fedjax_sparse.models.layers import Network, max_pool

Norm = Literal["batch", "group", "none"]


class VGG(Network):
    """Five stages of 3x3 convolutions, each closed by pooling, then dense layers.

    Attributes:
        depths: Convolutions in each stage.
        norm: Between each convolution and its ReLU: "batch", "group" (32 groups) or "none".
        hidden: Sizes of hidden dense layers, each followed by dropout of one half.
    """

    depths: tuple[int, ...] = (1, 1, 2, 2, 2)
    norm: Norm = "batch"
    hidden: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x, train, mask):
        """[B, H, W, C] -> [B, classes]."""
        for features, depth in zip((64, 128, 256, 512, 512), self.depths, strict=True):
            for _ in range(depth):
                x = self.conv(x, features, 3, kernel_init=nn.initializers.he_normal())
                if self.norm == "batch":
                    x = self.batch_norm(x, train, mask, momentum=0.99, epsilon=1e-3)
                elif self.norm == "group":
                    x = self.group_norm(x, 32)
                x = nn.relu(x)
            x = max_pool(x)
        x = x.reshape(x.shape[0], -1)
        for features in self.hidden:
            x = nn.relu(self.dense(x, features, kernel_init=nn.initializers.he_normal()))
            x = self.dropout(x, 0.5, train)
        return self.dense(x, self.classes)


def _vgg(name, depths, input_shape, classes, dtype, norm, hidden, unbiased):
    model.require_image(name, input_shape, 32)
    network = VGG(classes, dtype, depths=depths, norm=norm, hidden=tuple(hidden), unbiased=unbiased)
    return model.from_network(name, network, input_shape)


def vgg11(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    norm: Norm = "batch",
    hidden: Sequence[int] = (),
    unbiased: bool = False,
) -> model.Model:
    """VGG-11: 9,231,114 parameters for 10 classes; 28,144,010 with norm="none", hidden=(4096, 4096), as in FLARE.

    Args:
        input_shape: (height, width, channels), at least 32x32.
        classes: Number of outputs.
        dtype: Of parameters and computation.
        norm: "batch", "group" (32 groups) or "none".
        hidden: Sizes of hidden dense layers, each followed by dropout of one half.
        unbiased: BatchNorm's running variances, as in Keras, see `layers.Network.batch_norm`.
    """
    return _vgg("vgg11", (1, 1, 2, 2, 2), input_shape, classes, dtype, norm, hidden, unbiased)


def vgg16(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    norm: Norm = "batch",
    hidden: Sequence[int] = (),
    unbiased: bool = False,
) -> model.Model:
    """VGG-16: 14,774,436 parameters for 100 classes, as in FedSparsify (arXiv:2204.12430), there with init=glorot.

    33,638,218 for 10 classes with norm="none", hidden=(4096, 4096), as in FLARE. Arguments as for `vgg11`.
    """
    return _vgg("vgg16", (2, 2, 3, 3, 3), input_shape, classes, dtype, norm, hidden, unbiased)
