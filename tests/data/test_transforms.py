"""Normalisation against its formula, augmentation against NumPy slices of a padded image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.data import transforms

crop_and_flip = jax.jit(transforms.crop_and_flip, static_argnums=2)

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def images(batch=6, height=8, width=10, channels=3):
    """Random images without black pixels, so that padding can be told from picture."""
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (batch, height, width, channels)).astype(np.uint8)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2**-8)])
def test_bytes_are_scaled_then_standardised_per_channel(dtype, tolerance):
    x = images()
    out = transforms.normalise(jnp.asarray(x), MEAN, STD, dtype)
    assert out.dtype == dtype
    expected = (x / 255 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(np.asarray(out, np.float64), expected, rtol=tolerance, atol=1e-6)


def test_bytes_in_float64():
    x = images()
    with jax.enable_x64(True):
        out = transforms.normalise(jnp.asarray(x), MEAN, STD, jnp.float64)
        assert out.dtype == jnp.float64
        np.testing.assert_allclose(out, (x / 255 - np.array(MEAN)) / np.array(STD), rtol=1e-13, atol=1e-14)


def test_floats_are_standardised_only_as_asked():
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    assert np.array_equal(transforms.normalise(jnp.asarray(x), (0.0,), (1.0,), "float32"), x)
    out = transforms.normalise(jnp.asarray(x), (2.0,), (4.0,), "float32")
    np.testing.assert_allclose(out, (x - 2) / 4, rtol=1e-6, atol=1e-6)


def test_text_passes_through():
    text = jnp.arange(12, dtype=jnp.int32).reshape(3, 4)
    out = transforms.normalise(text, (0.0,), (1.0,), "float32")
    assert out.dtype == jnp.int32
    assert np.array_equal(out, text)


def windows(image, pad):
    """Every possible result for one image: shift and flip -> pixels."""
    height, width, _ = image.shape
    padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    crops = {
        (i, j): padded[i : i + height, j : j + width] for i in range(2 * pad + 1) for j in range(2 * pad + 1)
    }
    return {
        (*at, flip): crop[:, ::-1] if flip else crop for at, crop in crops.items() for flip in (False, True)
    }


def found(image, out, pad):
    """The shift and flip that turn `image` into `out`."""
    matches = [at for at, window in windows(image, pad).items() if np.array_equal(window, out)]
    assert len(matches) == 1
    return matches[0]


@pytest.mark.parametrize("pad", [1, 4])
def test_each_image_becomes_one_of_its_windows(pad):
    x = images()
    out = np.asarray(crop_and_flip(x, jax.random.key(0), pad))
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    seen = [found(image, after, pad) for image, after in zip(x, out, strict=True)]
    assert len(set(seen)) > 1


def test_shifts_and_flips_are_uniform():
    """3 x 3 shifts and 2 flips of 1800 copies: 100 of each, sd 10."""
    x = images(batch=1, height=4, width=4)
    out = np.asarray(crop_and_flip(np.repeat(x, 1800, 0), jax.random.key(1), 1))
    position = {window.tobytes(): 0 for window in windows(x[0], 1).values()}
    assert len(position) == 18
    for image in out:
        position[image.tobytes()] += 1
    assert all(50 < count < 150 for count in position.values())


def test_clients_side_by_side_get_what_each_gets_alone():
    x = np.stack([images(), images()[::-1]])
    keys = jax.random.split(jax.random.key(0), 2)
    together = np.asarray(jax.jit(jax.vmap(transforms.crop_and_flip))(x, keys))
    alone = [[crop_and_flip(batch, key) for key in keys] for batch in x]
    assert np.array_equal(together[0], alone[0][0])
    assert np.array_equal(together[1], alone[1][1])
    assert not np.array_equal(together[0], alone[0][1])


def test_augmentation_is_for_training_and_pads_with_black_before_normalising():
    x, key = jnp.asarray(images()), jax.random.key(0)
    plain = transforms.Preprocess(MEAN, STD, "float32", augment=False)
    augmented = transforms.Preprocess(MEAN, STD, "float32", augment=True)
    unchanged = transforms.normalise(x, MEAN, STD, "float32")
    assert np.array_equal(plain(x, key, True), unchanged)
    assert np.array_equal(augmented(x, key, False), unchanged)
    trained = jax.jit(augmented, static_argnums=2)(x, key, True)
    raw = crop_and_flip(x, key)
    np.testing.assert_allclose(trained, transforms.normalise(raw, MEAN, STD, "float32"), rtol=1e-6, atol=1e-6)
    black = np.asarray(raw).max(axis=-1) == 0
    assert black.any()
    np.testing.assert_allclose(np.asarray(trained)[black][0], -np.array(MEAN) / np.array(STD), rtol=1e-6)
