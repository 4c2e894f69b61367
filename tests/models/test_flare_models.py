"""FLARE's networks: their parameters tensor by tensor, and what their official versions do differently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import trees
from fedjax_sparse.models import flare
from fedjax_sparse.models.model import Model, build
from fedjax_sparse.types import Variables

MNIST, CIFAR, TEXT = (28, 28, 1), (32, 32, 3), (100,)


def shapes(model: Model):
    return jax.eval_shape(model.init, jax.random.key(0)).params


def drawn(model: Model, seed: int = 0) -> Variables:
    """Some parameters, biases included, much quicker to make than by compiling `init`."""
    rng = np.random.default_rng(seed)
    return Variables(jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape)), shapes(model)))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("flare_fc", MNIST, 10, 36_356_525),
        ("flare_cnn", MNIST, 10, 582_026),
        ("flare_vgg11", CIFAR, 10, 28_144_010),
        ("flare_vgg16", CIFAR, 10, 33_638_218),
        ("flare_vgg19", CIFAR, 10, 38_947_914),
        ("gru", TEXT, 86, 4_048_470),
        ("vgg16", CIFAR, 100, 14_774_436),
    ],
)
def test_parameter_counts(name, shape, classes, count):
    assert trees.size(shapes(build(name, shape, classes))) == count


def test_fc_holds_four_matrices():
    params = shapes(build("flare_fc", MNIST, 10))
    kernels = [leaf.shape for leaf in jax.tree.leaves(params) if len(leaf.shape) == 2]
    assert kernels == [(784, 4069), (4069, 4069), (4069, 4069), (4069, 10)]


@pytest.mark.parametrize("linear", [True, False])
def test_the_official_fc_is_linear(linear):
    model = build("flare_fc", (5,), 3, dtype=jnp.float64, hidden=(7, 6), linear=linear)
    variables = drawn(model)
    x, y = np.random.default_rng(1).normal(size=(2, 4, 5))
    at = [model.apply(variables, jnp.asarray(value), train=False)[0] for value in (x, y, x + y, 0 * x)]
    error = np.abs(at[0] + at[1] - at[2] - at[3]).max()
    assert error < 1e-12 if linear else error > 0.1


def test_two_softmaxes_keep_the_loss_above_its_floor():
    plain = build("flare_cnn", MNIST, 10, dtype=jnp.float64)
    official = build("flare_cnn", MNIST, 10, dtype=jnp.float64, double_softmax=True)
    variables = drawn(plain)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, *MNIST)))
    logits, _ = plain.apply(variables, x, train=False)
    outputs, _ = official.apply(variables, x, train=False)
    np.testing.assert_allclose(outputs, jax.nn.softmax(logits), rtol=1e-12)
    best = official.loss(jnp.eye(10), jnp.arange(10))
    np.testing.assert_allclose(best, np.log(np.e + 9) - 1, rtol=1e-12)
    np.testing.assert_allclose(best, 1.4612, atol=5e-5)


@pytest.mark.parametrize(("relu_by_stage", "relus"), [(False, 8 + 2), (True, 5 + 2)])
def test_the_official_vgg11_has_one_relu_in_each_stage(relu_by_stage, relus, monkeypatch):
    model = build("flare_vgg11", CIFAR, 10, relu_by_stage=relu_by_stage)
    params = shapes(model)
    seen = []
    relu = flare.nn.relu
    monkeypatch.setattr(flare.nn, "relu", lambda x: seen.append(x.shape) or relu(x))
    image = jax.ShapeDtypeStruct((1, *CIFAR), jnp.float32)
    jax.eval_shape(lambda params, x: model.apply(Variables(params), x, train=False), params, image)
    assert len(seen) == relus
