"""Initial weights of other libraries: their bounds, variances and biases, at every layer of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.errors import UsageError
from fedjax_sparse.models.model import build

SHAPE = (16, 16, 3)


def params(init, name="resnet20", **options):
    return build(name, SHAPE, 10, init=init, **options).init(jax.random.key(0)).params


def inputs(kernel):
    return np.prod(kernel.shape[:-1])


@pytest.mark.parametrize(
    ("init", "variance", "bound"),
    [
        ("glorot", lambda k: 2 / (inputs(k) + np.prod(k.shape[:-2]) * k.shape[-1]), np.sqrt(3)),
        ("he", lambda k: 2 / inputs(k), 2 / 0.87962566),
        ("lecun", lambda k: 1 / inputs(k), 2 / 0.87962566),
        ("torch", lambda k: 1 / (3 * inputs(k)), np.sqrt(3)),
    ],
)
def test_kernels_have_the_variance_and_the_bound_of_their_law(init, variance, bound):
    """A uniform law ends at sqrt(3) deviations; a normal one cut at two, before it is widened to its variance."""
    drawn = params(init)
    kernels = [drawn["Conv_3"]["kernel"], drawn["Conv_0"]["kernel"], drawn["Dense_0"]["kernel"]]
    for kernel in kernels:
        deviation = np.sqrt(variance(kernel))
        assert np.std(kernel) == pytest.approx(deviation, rel=0.05)
        assert 0.95 * bound < np.abs(kernel).max() / deviation <= 1.0001 * bound


def test_torch_draws_biases_too_and_nobody_norms():
    dense, own = params("torch"), params("own")
    bias = np.asarray(dense["Dense_0"]["bias"])
    assert np.abs(bias).max() <= 64**-0.5
    assert np.std(bias) > 0
    norm = next(name for name in own if "Norm" in name)
    jax.tree.map(np.testing.assert_array_equal, dense[norm], own[norm])
    assert not np.any(params("lecun")["Dense_0"]["bias"])


def test_layers_of_equal_shape_and_seeds_differ():
    model = build("mlp", SHAPE, 10, init="he", hidden=(64, 64, 64))
    first, second = (model.init(jax.random.key(seed)).params for seed in (0, 1))
    assert np.all(np.asarray(first["Dense_1"]["kernel"]) != np.asarray(first["Dense_2"]["kernel"]))
    assert np.all(np.asarray(first["Dense_1"]["kernel"]) != np.asarray(second["Dense_1"]["kernel"]))


def test_bfloat16_starts_where_float32_does():
    exact = params("torch", "mlp", hidden=(8,))
    rounded = params("torch", "mlp", hidden=(8,), dtype=jnp.bfloat16)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(jnp.bfloat16), b), exact, rounded)


def test_an_unknown_one_is_refused():
    with pytest.raises(UsageError, match="init of model mlp"):
        build("mlp", SHAPE, 10, init="kaiming")
