import contextlib
import gc

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.devices.tracing import traced, uncollected


def test_traced_once_and_equal():
    calls = []

    def function(tree, x):
        calls.append(1)
        return {"sum": tree["a"] + x, "loop": jax.lax.fori_loop(0, 3, lambda i, y: y * x, tree["a"])}

    tree, x = {"a": jnp.arange(3.0)}, jnp.float32(2)
    run, shapes = traced(function, tree, x)
    np.testing.assert_array_equal(run(tree, x)["sum"], [2, 3, 4])
    np.testing.assert_array_equal(run({"a": jnp.ones(3)}, x)["loop"], [8, 8, 8])
    assert len(calls) == 1
    assert shapes["loop"] == jax.ShapeDtypeStruct((3,), jnp.float32)


def test_closes_over_tracers_inside_loops_and_jit():
    @jax.jit
    def outer(scale, xs):
        run, shape = traced(lambda x: x * scale, xs[0])
        total, _ = jax.lax.scan(lambda total, x: (total + run(x), None), jnp.zeros_like(shape), xs)
        return total

    np.testing.assert_array_equal(outer(jnp.float32(3), jnp.arange(8.0).reshape(4, 2)), [36, 48])


def test_gradients_are_those_of_the_function():
    def function(x):
        return jnp.sum(jnp.sin(x) ** 2)

    x = jnp.arange(3.0)
    run, _ = traced(function, x)
    np.testing.assert_array_equal(jax.grad(run)(x), jax.grad(function)(x))


def test_garbage_is_collected_again_afterwards_and_after_an_error():
    assert gc.isenabled()
    with contextlib.suppress(ValueError), uncollected():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()


def test_who_collects_no_garbage_goes_on_so():
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
