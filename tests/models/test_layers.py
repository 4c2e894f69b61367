"""Dense layers, convolution and pooling against JAX's own operations, in float64 unless said otherwise."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fedjax_sparse.devices import platforms
from fedjax_sparse.models import convolution, layers


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def reference(x, kernel, strides, padding):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def arrays(*shapes, dtype=jnp.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def value_and_gradients(convolution, x, kernel, strides, padding):
    """The output and both gradients of a loss whose gradient depends on the output."""

    def loss(x, kernel):
        out = convolution(x, kernel, strides, padding)
        return jnp.sum(jnp.sin(out)), out

    (_, out), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, kernel)
    return out, *gradients


def assert_close(got, wanted, rtol=1e-10, atol=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, wanted)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 1), (2, 0)), ((4, 3), (5, 6))], ids=str)
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (2, 1)], ids=str)
def test_conv_and_gradients_equal_lax(stride, padding):
    cases = [((8, 8), (1, 1)), ((7, 9), (2, 2)), ((8, 8), (3, 3)), ((7, 9), (5, 5)), ((7, 9), (3, 1))]

    @jax.jit
    def both(inputs):
        return [
            [value_and_gradients(f, x, k, stride, padding) for x, k in inputs]
            for f in (layers.conv, reference)
        ]

    inputs = [arrays((2, *image, 3), (*window, 3, 4)) for image, window in cases]
    assert_close(*both(inputs))


@pytest.fixture(params=[platforms.CPU, platforms.accelerator("gpu")], ids=["cpu", "gpu"])
def platform(request):
    """Both forms of per-client convolutions, whatever the tests run on."""
    with platforms.assume(request.param):
        yield


VMAPPED = [(3, 1, "SAME"), (5, 1, "VALID"), (1, 2, "SAME"), (3, 2, "SAME"), (2, 3, ((0, 1), (2, 0)))]


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("in_axes", [(0, 0), (None, 0), (0, None)], ids=str)
def test_vmap_of_gradients_equals_a_loop(in_axes):
    clients = 3

    @jax.jit
    def together(inputs):
        return [
            jax.vmap(lambda x, k, g=g: value_and_gradients(layers.conv, x, k, *g), in_axes)(x, k)
            for (x, k), g in zip(inputs, geometries, strict=True)
        ]

    @jax.jit
    def loop(inputs, client):
        own = [
            [a if axis is None else a[client] for a, axis in zip(pair, in_axes, strict=True)]
            for pair in inputs
        ]
        return [value_and_gradients(reference, x, k, *g) for (x, k), g in zip(own, geometries, strict=True)]

    geometries = [((stride, stride), padding) for _, stride, padding in VMAPPED]
    leading = [() if axis is None else (clients,) for axis in in_axes]
    inputs = [
        arrays((*leading[0], 2, 7, 6, 3), (*leading[1], window, window, 3, 4)) for window, _, _ in VMAPPED
    ]
    separate = [loop(inputs, client) for client in range(clients)]
    assert_close(together(inputs), jax.tree.map(lambda *leaves: jnp.stack(leaves), *separate))


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("inner_axes", [(0, 0), (None, 0), (0, None)], ids=str)
def test_nested_vmap_over_seeds_and_clients(inner_axes):
    """Seeds have kernels of their own; within a seed kernels, inputs or both differ between clients."""
    shapes = [
        (2, 2, 5, 5, 3) if inner_axes[0] is None else (2, 3, 2, 5, 5, 3),
        (2, 3, 3, 3, 4) if inner_axes[1] is None else (2, 3, 3, 3, 3, 4),
    ]
    x, kernel = arrays(*shapes)

    def gradients(convolution):
        def one(x, kernel):
            return value_and_gradients(convolution, x, kernel, (1, 1), "SAME")

        return jax.jit(jax.vmap(jax.vmap(one, inner_axes)))(x, kernel)

    assert_close(gradients(layers.conv), gradients(reference))


def test_gradient_inside_scan_and_of_scan():
    x, kernel = arrays((4, 2, 6, 6, 3), (3, 3, 3, 3))

    def descend(convolution):
        def step(kernel, x):
            out, _, gradient = value_and_gradients(convolution, x, kernel, (1, 1), "SAME")
            return kernel - 0.01 * gradient, jnp.sum(out)

        return lax.scan(step, kernel, x)

    def through(convolution):
        def loss(kernel):
            last, _ = lax.scan(
                lambda h, _: (jnp.tanh(convolution(h, kernel, (1, 1), "SAME")), None), x[0], length=3
            )
            return jnp.sum(last**2)

        return jax.grad(loss)(kernel)

    for run in (descend, through):
        assert_close(jax.jit(lambda run=run: run(layers.conv))(), jax.jit(lambda run=run: run(reference))())


@pytest.mark.parametrize("clients", [None, 2])
def test_hessian_vector_product_by_reverse_over_reverse(clients):
    """As GraSP needs it, with respect to inputs and kernels, alone and under vmap."""
    batch = () if clients is None else (clients,)
    x, kernel, dx, dkernel = arrays(*(2 * [(*batch, 2, 7, 7, 2), (*batch, 3, 3, 2, 3)]))

    def product(convolution):
        def slope(x, kernel, dx, dkernel):
            _, gx, gkernel = value_and_gradients(convolution, x, kernel, (2, 2), "SAME")
            return jnp.sum(gx * dx) + jnp.sum(gkernel * dkernel)

        second = jax.grad(slope, (0, 1))
        return jax.jit(second if clients is None else jax.vmap(second))(x, kernel, dx, dkernel)

    assert_close(product(layers.conv), product(reference))


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-4), (jnp.bfloat16, 0.1)])
def test_lower_precision_keeps_its_dtype(dtype, tolerance):
    x, kernel = arrays((2, 6, 6, 3), (3, 3, 3, 4), dtype=dtype)
    got = jax.jit(lambda x, k: value_and_gradients(layers.conv, x, k, (1, 1), "SAME"))(x, kernel)
    wanted = value_and_gradients(reference, x.astype(float), kernel.astype(float), (1, 1), "SAME")
    assert all(array.dtype == dtype for array in got)
    got = [array.astype(float) for array in got]
    assert_close(got, list(wanted), rtol=tolerance, atol=tolerance * float(jnp.abs(wanted[2]).max()))


@pytest.mark.parametrize("outputs", [1, layers.FEW_OUTPUTS, layers.FEW_OUTPUTS + 1])
@pytest.mark.parametrize("leading", [(5,), (2, 5)], ids=str)
@pytest.mark.parametrize("clients", [None, 3])
def test_dense_equals_a_matrix_product_to_the_second_derivative(outputs, leading, clients):
    batch = () if clients is None else (clients,)
    x, kernel, dx, dkernel = arrays(*(2 * [(*batch, *leading, 6), (*batch, 6, outputs)]))

    def derivatives(product):
        def of_one(x, kernel, dx, dkernel):
            def gradients(x, kernel):
                return jax.grad(lambda x, k: jnp.sum(jnp.sin(product(x, k))), (0, 1))(x, kernel)

            return product(x, kernel), jax.jvp(gradients, (x, kernel), (dx, dkernel))

        return jax.jit(of_one if clients is None else jax.vmap(of_one))(x, kernel, dx, dkernel)

    assert_close(derivatives(layers.dense), derivatives(jnp.matmul))


def test_forward_mode_is_refused():
    x, kernel = arrays((1, 4, 4, 1), (3, 3, 1, 1))
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda k: layers.conv(x, k, (1, 1), "SAME"), (kernel,), (kernel,))


def test_kernel_gradient_on_a_finer_grid_equals_lax(monkeypatch):
    monkeypatch.setattr(convolution, "MANY_CHANNELS", 1)
    forms: list[tuple[Any, tuple[int, int], Any]] = [
        ("SAME", (1, 1), jnp.float64),
        (((4, 3), (5, 6)), (3, 2), jnp.float64),
        ("SAME", (2, 2), jnp.float32),
    ]

    @jax.jit
    def both(inputs):
        return [
            [
                value_and_gradients(f, x, kernel, stride, padding)
                for (padding, stride, _), (x, kernel) in zip(forms, inputs, strict=True)
            ]
            for f in (layers.conv, reference)
        ]

    inputs = [arrays((2, 7, 9, 3), (3, 5, 3, 4), dtype=dtype) for *_, dtype in forms]
    ours, lax_own = both(inputs)
    assert_close(ours[:2], lax_own[:2])
    assert_close(ours[2], lax_own[2], 1e-4, 1e-4)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16], ids=["float64", "bfloat16"])
def test_group_norm_equals_flax_with_its_gradients(dtype):
    x, scale, bias = arrays((3, 4, 5, 6), (6,), (6,), dtype=dtype)
    x = x.at[1, :, :, 2:4].set(0.5)  # a group without variance

    @functools.partial(jax.jit, static_argnums=0)
    def run(norm):
        def loss(params, x):
            out = norm.apply({"params": params}, x)
            return jnp.sum(jnp.sin(out.astype(jnp.float64))), out

        (_, out), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(
            {"scale": scale, "bias": bias}, x
        )
        return out, gradients

    ours = layers.GroupNorm(3, dtype=dtype)
    flax = nn.GroupNorm(3, epsilon=1e-5, dtype=dtype, param_dtype=dtype)
    assert jax.tree.map(lambda leaf: leaf.dtype, run(ours)) == jax.tree.map(
        lambda leaf: leaf.dtype, run(flax)
    )
    assert_close(run(ours), run(flax), *((1e-9, 1e-9) if dtype == jnp.float64 else (0.02, 0.05)))
    assert_close(ours.init(jax.random.key(0), x), flax.init(jax.random.key(0), x))


@pytest.mark.parametrize("size", [(6, 4), (7, 5)])
def test_pools_equal_reduce_window(size):
    (x,) = arrays((2, *size, 3))
    window = ((1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    for ours, theirs in (
        (layers.max_pool, lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *window)),
        (layers.average_pool, lambda x: lax.reduce_window(x, 0.0, lax.add, *window) / 4),
    ):
        got, wanted = (jax.value_and_grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x) for f in (ours, theirs))
        assert_close(got, wanted)


def test_max_pool_shares_the_gradient_of_ties():
    x = jnp.array([[3.0, 3.0], [1.0, 3.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: layers.max_pool(x).sum())(x)
    np.testing.assert_allclose(gradient.reshape(2, 2), [[1 / 3, 1 / 3], [0, 1 / 3]])
