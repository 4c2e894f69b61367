"""From examples as they are stored to what a model sees: normalisation and augmentation, inside the local step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

PAD = 4  # pixels on each side before a random crop, as is usual for 32x32 images


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Normalisation, behind random crops and flips where `augment` is set and the model trains.

    Attributes:
        mean: See `normalise`.
        std: See `normalise`.
        dtype: See `normalise`.
        augment: For images [B, H, W, C] only.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: DTypeLike
    augment: bool

    def __call__(self, x: jax.Array, key: jax.Array, train: bool) -> jax.Array:
        """From x as stored to x as the model wants it; `train` is a Python bool."""
        if self.augment and train:
            x = crop_and_flip(x, key)
        return normalise(x, self.mean, self.std, self.dtype)


def normalise(x: jax.Array, mean: tuple[float, ...], std: tuple[float, ...], dtype: DTypeLike) -> jax.Array:
    """(x - mean) / std in `dtype`, after division by 255 where x is uint8; other integers (text) are left alone.

    Computed in at least float32, so that bfloat16 rounds once.

    Args:
        x: [..., C] or, with one mean for all, any shape.
        mean: C numbers, or one; of x, or of x / 255 where x is uint8.
        std: Likewise, > 0.
        dtype: Floating-point type of the result.
    """
    if x.dtype != jnp.uint8 and not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    unit = 255.0 if x.dtype == jnp.uint8 else 1.0
    compute = jnp.promote_types(dtype, jnp.float32)
    leading = (1,) * (x.ndim - 1)
    scale = jnp.asarray(1 / (unit * np.asarray(std)), compute).reshape(*leading, -1)
    offset = jnp.asarray(np.asarray(mean) / np.asarray(std), compute).reshape(*leading, -1)
    return (x.astype(compute) * scale - offset).astype(dtype)


def crop_and_flip(x: jax.Array, key: jax.Array, pad: int = PAD) -> jax.Array:
    """Of each image a random window of its own size after padding, and with probability 1/2 its mirror image.

    To be applied before normalisation: the padding is black (0 as stored), as in torchvision.

    Args:
        x: [B, H, W, C], any dtype.
        key: For the whole batch; each image has its own draws.
        pad: Black pixels added on every side; shifts are uniform on -pad..pad.
    """
    batch, height, width, _ = x.shape
    shift_key, flip_key = jax.random.split(key)
    shift = jax.random.randint(shift_key, (2, batch, 1), -pad, pad + 1)
    flip = jax.random.bernoulli(flip_key, shape=(batch, 1))
    column = jnp.arange(width)[None, :]
    rows = shift[0] + jnp.arange(height)[None, :]
    columns = shift[1] + jnp.where(flip, width - 1 - column, column)
    # Reading the image itself at clipped positions and blackening what lay outside is several times faster in a scan
    # on CPU than slicing a padded copy.
    image = jnp.arange(batch)[:, None, None]
    window = x[image, rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]]
    inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    return jnp.where(inside[..., None], window, jnp.zeros((), x.dtype))


def _within(position: jax.Array, size: int) -> jax.Array:
    return (position >= 0) & (position < size)
