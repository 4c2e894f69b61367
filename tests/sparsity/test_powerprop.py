"""Powerpropagation: published values, the identity at exponent 1, and zeros that stay zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.sparsity import powerprop

THETA = [-2, -0.5, 0, 0.3, 1.7]


def slope(theta, exponent):
    """The derivative of each weight with respect to its own parameter."""
    return jax.vmap(jax.grad(powerprop.power), (0, None))(theta, exponent)


@pytest.mark.parametrize(
    ("exponent", "weights", "slopes"),
    [
        (
            1.25,
            [-2.37841423, -0.42044821, 0, 0.22202484, 1.94115919],
            [1.48650889, 1.05112052, 0, 0.92510351, 1.42732293],
        ),
        (2.0, [-4, -0.25, 0, 0.09, 2.89], [4, 1, 0, 0.6, 3.4]),
        (1.0, THETA, [1, 1, 1, 1, 1]),
    ],
)
def test_values_and_derivatives(exponent, weights, slopes):
    with jax.enable_x64(True):
        theta = jnp.asarray(THETA, float)
        np.testing.assert_allclose(powerprop.power(theta, exponent), weights, atol=5e-9)
        np.testing.assert_allclose(slope(theta, exponent), slopes, atol=5e-9)
        traced = jax.jit(lambda theta, exponent: (powerprop.power(theta, exponent), slope(theta, exponent)))
        np.testing.assert_allclose(traced(theta, exponent), [weights, slopes], atol=5e-9)


def test_a_step_of_gradient_descent_with_weight_decay():
    with jax.enable_x64(True):
        theta, upstream = jnp.asarray(THETA, float), jnp.asarray([0.1, -0.2, 0.3, 0.4, -0.5])
        _, pull_back = jax.vjp(lambda theta: powerprop.power(theta, 1.25), theta)
        new = theta - 0.5 * (pull_back(upstream)[0] + 1e-3 * theta)
        np.testing.assert_allclose(new, [-2.07332544, -0.39463795, 0, 0.1148293, 2.05598073], atol=5e-9)
        assert new[2] == 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("exponent", [1.0, 1.01, 1.25, 2.0, 4.0])
def test_nothing_is_nan_at_zeros_and_extremes(dtype, exponent):
    tiny = jnp.finfo(dtype).tiny
    theta = jnp.asarray([0, -0.0, tiny, -tiny, tiny / 4, 1e-20, 1, -3, 1e9], dtype)
    weights = jax.jit(powerprop.power)(theta, exponent)
    first = jax.jit(slope)(theta, exponent)
    second = jax.vmap(jax.grad(jax.grad(powerprop.power)), (0, None))(theta[6:], exponent)
    assert weights.dtype == first.dtype == dtype
    for values in (weights, first, second):
        assert jnp.all(jnp.isfinite(values.astype(jnp.float32)))
    np.testing.assert_array_equal(first[:2], float(exponent == 1))


def test_exponent_one_is_the_identity_bit_for_bit():
    theta = jax.random.normal(jax.random.key(0), (1000,)).at[::7].set(0)
    np.testing.assert_array_equal(powerprop.power(theta, 1.0), theta)
    np.testing.assert_array_equal(jax.jit(slope)(theta, jnp.float32(1)), 1)


def test_clients_may_have_their_own_exponents():
    theta = jnp.asarray(THETA, jnp.float32)
    both = jax.vmap(powerprop.power, (None, 0))(theta, jnp.asarray([1.0, 2.0]))
    np.testing.assert_allclose(both, [theta, theta * jnp.abs(theta)], rtol=1e-6)


def test_initial_weights_are_what_was_drawn():
    with jax.enable_x64(True):
        drawn = {"kernel": jax.random.normal(jax.random.key(0), (5, 4)), "bias": jnp.zeros(4)}
        exponents = {"kernel": 1.25, "bias": 1.0}
        raw = powerprop.raw(drawn, exponents)
        np.testing.assert_allclose(raw["kernel"], np.sign(drawn["kernel"]) * np.abs(drawn["kernel"]) ** 0.8)
        weights = powerprop.effective(raw, exponents)
        np.testing.assert_allclose(weights["kernel"], drawn["kernel"], rtol=1e-14)
        np.testing.assert_array_equal(weights["bias"], 0)


@pytest.mark.parametrize(("exponent", "absorbing"), [(1.25, True), (1.0, False)])
def test_zeros_stay_zero_above_exponent_one(exponent, absorbing):
    """Linear regression from a sparse start: ten steps of gradient descent with weight decay."""
    x, y, start = (
        jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(20, 8), (20,), (8,)])
    )
    start = start.at[1::2].set(0)

    def loss(theta):
        return jnp.mean((x @ powerprop.power(theta, exponent) - y) ** 2)

    theta = start
    for _ in range(10):
        theta = theta - 0.05 * (jax.grad(loss)(theta) + 1e-3 * theta)
    assert not np.allclose(theta[::2], start[::2])
    assert np.all(np.asarray(theta)[1::2] == 0) == absorbing


@pytest.mark.parametrize("shape", [(30, 20), (3, 3, 8, 16)])
def test_the_spectral_exponent_is_near_that_of_the_exact_singular_value(shape):
    theta = jax.random.normal(jax.random.key(0), shape)
    matrix = np.abs(np.asarray(theta)).reshape(-1, shape[-1])
    exact = 1 + matrix.mean() / np.linalg.svd(matrix, compute_uv=False)[0]
    assert powerprop.spectral_exponent(theta) == pytest.approx(exact, rel=1e-4)
    one_step = matrix.sum(1) / np.linalg.norm(matrix.sum(1)) @ matrix
    expected = 1 + matrix.mean() / np.linalg.norm(one_step)
    assert powerprop.spectral_exponent(theta) == pytest.approx(expected, rel=1e-6)


def test_the_spectral_exponent_of_nothing_is_one():
    assert powerprop.spectral_exponent(jnp.zeros((3, 4), jnp.bfloat16)) == 1
