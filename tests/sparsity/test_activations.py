"""Activation pruning: which inputs count, and that nothing but the kernel's gradient knows of it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.models.layers import DEFAULT
from fedjax_sparse.sparsity import activations
from fedjax_sparse.types import Batch, Variables

X = [0, 1, -3, 2, 0, -0.5, 4, 0]


def kernel_with_zeros(zeros: int, size: int) -> jax.Array:
    return jnp.where(jnp.arange(size) < zeros, 0.0, 1.0).reshape(1, size)


def kept(x, kernel, floor=1e-7, present=None):
    """The inputs that count, as a mask."""
    x = jnp.asarray(x, jnp.float32)
    present = jnp.ones(len(x), bool) if present is None else jnp.asarray(present)
    return np.asarray(jnp.abs(x) >= activations.threshold(x, kernel, present, floor))


@pytest.mark.parametrize(
    ("zeros", "size", "expected"),
    [
        (0, 10, X),
        (3, 10, X),  # k = 6 of 8, but the sixth largest is 0
        (5, 10, [1, -3, 2, 4]),
        (3, 4, [-3, 4]),
        (9, 10, [4]),
        (9999, 10000, [4]),
        (10, 10, [4]),  # the floor keeps one
    ],
)
def test_the_largest_inputs_of_the_whole_batch_count(zeros, size, expected):
    x = np.asarray(X, np.float32).reshape(4, 2)
    assert list(x[kept(x, kernel_with_zeros(zeros, size))]) == expected


def test_all_that_tie_with_the_last_one_count():
    assert kept([[1], [1], [1], [2]], kernel_with_zeros(1, 2)).all()


def test_the_floor_keeps_a_share():
    x = np.arange(1, 201, dtype=np.float32).reshape(20, 10)
    kernel = kernel_with_zeros(999, 1000)
    assert kept(x, kernel).sum() == 1
    assert kept(x, kernel, floor=0.01).sum() == 2
    assert kept(x, kernel, floor=0.0101).sum() == 3
    assert kept(x, kernel, floor=1.0).all()


def test_padding_does_not_count():
    x = np.arange(1, 9, dtype=np.float32).reshape(4, 2)
    padded = np.concatenate([x, np.full((3, 2), 100, np.float32)])
    present = [True] * 4 + [False] * 3
    for zeros, floor in ((3, 1e-7), (9, 1e-7), (9, 0.4)):
        kernel = kernel_with_zeros(zeros, 10)
        np.testing.assert_array_equal(kept(padded, kernel, floor, present)[:4], kept(x, kernel, floor))


@pytest.mark.parametrize(
    ("live", "size", "inputs", "exact", "float64"),
    [
        (5, 100, 120, 6, 7),
        (5, 100, 100, 5, 6),
        (50, 100, 120, 60, 60),
        (1, 3, 90, 30, 30),
        (100, 100, 120, 120, 120),
    ],
)
def test_inputs_kept_exactly_or_as_float64_rounds_them(live, size, inputs, exact, float64):
    """The official k is ceil((1 - s) n) with s = 1 - live / size, step by step in float64."""
    assert float64 == math.ceil((1 - (1 - live / size)) * inputs)
    x = np.arange(1, inputs + 1, dtype=np.float32).reshape(inputs // 2, 2)
    kernel = kernel_with_zeros(size - live, size)
    everyone = jnp.ones(len(x), bool)
    for counting, k in (("exact", exact), ("float64", float64)):
        found = jax.jit(functools.partial(activations.threshold, floor=1e-7, counting=counting))
        assert np.sum(x >= found(x, kernel, everyone)) == k


FLOAT64_SHARE = jax.jit(activations._ceil_share_in_float64)


@given(st.integers(1, 2**25), st.integers(1, 2**20), st.floats(0, 1))
def test_float64_counts_are_those_of_python(total, whole, share):
    part = int(share * whole)
    found = FLOAT64_SHARE(np.int32(total), np.int32(part), np.int32(whole))
    assert int(found) == math.ceil((1 - (1 - part / whole)) * total)


def test_the_floor_is_a_decimal_number():
    x = np.arange(1, 101, dtype=np.float32).reshape(10, 10)
    assert kept(x, kernel_with_zeros(999, 1000), floor=0.07).sum() == 7  # 0.07 * 100 is 7.000000000000001


def test_a_share_counts_what_is_there():
    x, present = jnp.arange(1.0, 101.0).reshape(10, 10), jnp.arange(10) < 7
    limit = activations.share_threshold(x, jnp.ones(3), present, 0.07)
    assert limit == 70 - 5 + 1  # the fifth of 70, as 4.9 is rounded up


def dense(x, kernel):
    return DEFAULT.dense("layer", x, kernel)


def conv(x, kernel):
    return DEFAULT.conv("layer", x, kernel, (2, 2), "SAME")


SHAPES = {dense: ((6, 5), (5, 7)), conv: ((4, 6, 6, 3), (3, 3, 3, 8))}


def limits(x, floor=1e-7):
    return functools.partial(activations.threshold, present=jnp.ones(len(x), bool), floor=floor)


def through_ops(op, x, kernel, floor=1e-7, thresholds=None):
    """The same layer, with its inputs pruned."""
    ops = activations._pruning_ops(["layer"], limits(x, floor), {} if thresholds is None else thresholds)
    if op is dense:
        return ops.dense("layer", x, kernel)
    return ops.conv("layer", x, kernel, (2, 2), "SAME")


def case(op, sparsity):
    x_shape, kernel_shape = SHAPES[op]
    x, kernel = (
        jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate((x_shape, kernel_shape))
    )
    zero = jax.random.permutation(jax.random.key(2), kernel.size) < round(sparsity * kernel.size)
    kernel = jnp.where(zero.reshape(kernel.shape), 0, kernel)
    upstream = jax.random.normal(jax.random.key(3), op(x, kernel).shape)
    return x, kernel, upstream


@pytest.mark.parametrize("op", [dense, conv])
def test_only_the_kernel_gradient_sees_pruned_inputs(op):
    x, kernel, upstream = case(op, 0.75)
    out, pull_back = jax.vjp(lambda x, kernel: through_ops(op, x, kernel), x, kernel)
    exact, exact_pull_back = jax.vjp(op, x, kernel)
    np.testing.assert_array_equal(out, exact)
    by_input, by_kernel = pull_back(upstream)
    np.testing.assert_array_equal(by_input, exact_pull_back(upstream)[0])
    k = math.ceil(np.count_nonzero(kernel) * x.size / kernel.size)
    limit = np.sort(np.abs(np.asarray(x)).ravel())[-k]
    pruned = jnp.where(jnp.abs(x) >= limit, x, 0)
    assert np.count_nonzero(pruned) == k < x.size
    _, reference = jax.vjp(op, pruned, kernel)
    np.testing.assert_array_equal(by_kernel, reference(upstream)[1])
    assert not np.allclose(by_kernel, exact_pull_back(upstream)[1])


@pytest.mark.parametrize("op", [dense, conv])
@pytest.mark.parametrize("other_name", [False, True])
def test_a_dense_kernel_and_an_unnamed_layer_are_plain(op, other_name):
    x, kernel, upstream = case(op, 0.75 if other_name else 0)
    name = "another" if other_name else "layer"
    ops = activations._pruning_ops([name], limits(x), {})

    def layer(x, kernel):
        if op is dense:
            return ops.dense("layer", x, kernel)
        return ops.conv("layer", x, kernel, (2, 2), "SAME")

    out, pull_back = jax.vjp(layer, x, kernel)
    exact, exact_pull_back = jax.vjp(op, x, kernel)
    np.testing.assert_array_equal(out, exact)
    for here, there in zip(pull_back(upstream), exact_pull_back(upstream), strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("op", [dense, conv])
def test_every_client_has_its_own_threshold(op):
    cases = [case(op, sparsity) for sparsity in (0.5, 0.9)]

    def kernel_gradient(x, kernel, upstream):
        return jax.vjp(lambda kernel: through_ops(op, x, kernel), kernel)[1](upstream)[0]

    together = jax.jit(jax.vmap(kernel_gradient))(*(jnp.stack(parts) for parts in zip(*cases, strict=True)))
    for one, alone in zip(together, cases, strict=True):
        np.testing.assert_allclose(one, kernel_gradient(*alone), rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_finite_and_in_its_type():
    x, kernel, upstream = (array.astype(jnp.bfloat16) for array in case(conv, 0.9))
    out, pull_back = jax.vjp(lambda x, kernel: through_ops(conv, x, kernel), x, kernel)
    for array in (out, *pull_back(upstream)):
        assert array.dtype == jnp.bfloat16
        assert jnp.all(jnp.isfinite(array.astype(jnp.float32)))


def loss(variables, batch, ops):
    """A convolution with "conv" and a dense layer with "dense", whose statistics count the batches."""
    x = ops.conv("conv", batch.x, variables.params["conv"], (1, 1), "SAME")
    x = ops.dense("dense", jnp.abs(x).sum((1, 2)), variables.params["dense"])
    return jnp.mean((x - batch.y) ** 2), variables.stats + 1


def batches(count: int) -> list[Batch]:
    keys = jax.random.split(jax.random.key(7), count)
    present = jnp.ones(4, bool)
    return [
        Batch(jax.random.normal(key, (4, 3, 3, 2)), jnp.ones((4, 3)), present, key, jnp.int32(i))
        for i, key in enumerate(keys)
    ]


def parameters(zeros: bool) -> dict[str, jax.Array]:
    conv = jax.random.normal(jax.random.key(0), (3, 3, 2, 5))
    return {
        "conv": conv.at[:, 0].set(0) if zeros else conv,
        "dense": jax.random.normal(jax.random.key(1), (5, 3)).at[0].set(0),
    }


def run(params, cached):
    """Statistics after each of three batches, and the gradients."""
    limit = functools.partial(activations.threshold, floor=1e-7)
    gradient = jax.jit(make_gradient(activations.with_pruned_activations(loss, ["conv", "dense"], limit)))
    variables = activations.remember(Variables(params, jnp.int32(0)), cached)
    history, gradients = [], []
    for batch in batches(3):
        _, stats, grads = gradient(variables, batch)
        variables = variables._replace(stats=stats)
        history.append(stats)
        gradients.append(grads)
    assert activations.forget(variables).stats == 3
    return history, gradients


def test_a_cached_threshold_is_that_of_the_first_batch():
    params = parameters(zeros=True)
    history, gradients = run(params, ["conv"])
    first, *others = batches(3)
    expected = activations.threshold(first.x, params["conv"], first.mask, 1e-7)
    assert [stats.thresholds["conv"] for stats in history] == [expected] * 3
    assert expected != activations.threshold(others[0].x, params["conv"], others[0].mask, 1e-7)
    fresh_history, fresh = run(params, [])
    assert fresh_history[-1].thresholds == {}
    np.testing.assert_allclose(gradients[0]["conv"], fresh[0]["conv"], rtol=1e-5)
    for here, there in zip(gradients[1:], fresh[1:], strict=True):
        assert not np.allclose(here["conv"], there["conv"])
        np.testing.assert_allclose(here["dense"], there["dense"], rtol=1e-5)  # computed in every batch


def test_a_dense_kernel_caches_nothing():
    history, gradients = run(parameters(zeros=False), ["conv"])
    assert [stats.thresholds["conv"] for stats in history] == [activations.UNSET] * 3
    for batch, gradient in zip(batches(3), gradients, strict=True):
        plain = jax.grad(lambda params, batch=batch: loss(Variables(params, 0), batch, DEFAULT)[0])
        expected = plain(parameters(zeros=False))["conv"]
        np.testing.assert_allclose(gradient["conv"], expected, rtol=1e-5, atol=1e-6)
