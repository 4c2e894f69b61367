"""Selection against a stable sort by NumPy, on every kind of value that a float can have."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_sparse.sparsity import topk

SIZE = 24
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, 3e38, -3e38]
values = st.one_of(st.sampled_from(SPECIAL), st.floats(width=32))
arrays = st.lists(values, min_size=SIZE, max_size=SIZE).map(lambda v: np.array(v, np.float32))

jitted = jax.jit(topk.largest)


def oracle(scores, k, where=None):
    """NaN last, then a stable sort from the largest down, in float64, where no float32 is denormal."""
    wide = np.asarray(scores).astype(np.float64).ravel()
    allowed = np.ones(wide.size, bool) if where is None else np.asarray(where).ravel()
    order = np.lexsort(
        (np.arange(wide.size), -np.nan_to_num(wide, nan=0, posinf=1e300, neginf=-1e300), np.isnan(wide))
    )
    order = order[allowed[order]]
    mask = np.zeros(wide.size, bool)
    mask[order[: max(0, k)]] = True
    return mask.reshape(np.shape(scores))


@settings(deadline=None, max_examples=300)
@given(arrays, st.integers(-2, SIZE + 2))
def test_agrees_with_a_stable_sort(scores, k):
    np.testing.assert_array_equal(jitted(scores, k), oracle(scores, k))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.sampled_from(SPECIAL), min_size=SIZE, max_size=SIZE).map(lambda v: np.array(v, np.float32)),
    st.integers(0, SIZE),
    st.lists(st.booleans(), min_size=SIZE, max_size=SIZE).map(np.array),
)
def test_chooses_only_where_allowed_and_never_too_few(scores, k, where):
    mask = np.asarray(jitted(scores, k, where))
    np.testing.assert_array_equal(mask, oracle(scores, k, where))
    assert mask.sum() == min(k, where.sum())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_float_type(dtype):
    rng = np.random.default_rng(0)
    raw = np.concatenate([rng.normal(size=40), rng.integers(-2, 3, 20), SPECIAL, [5e-324, 1e-310, -1e-310]])
    with jax.enable_x64(True), np.errstate(over="ignore"):
        scores = jnp.asarray(raw, dtype)
        for k in (0, 1, 2, 7, 20, 45, 60, 70, 75, 76):
            np.testing.assert_array_equal(jitted(scores, k), oracle(scores, k), err_msg=f"{dtype} k={k}")


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1, 2), (0,), (5, 0)])
def test_tiny_shapes(shape):
    scores = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 2
    for k in range(-1, scores.size + 2):
        mask = jitted(scores, k)
        assert mask.shape == shape
        np.testing.assert_array_equal(mask, oracle(scores, k))


@pytest.mark.parametrize("size", [255, 256, 257, 1000, 4097])
def test_all_equal_keeps_the_first(size):
    for k in (1, size // 2, size - 1):
        np.testing.assert_array_equal(jitted(np.ones(size, np.float32), k), np.arange(size) < k)


def adversarial(size):
    rng = np.random.default_rng(6)
    normal = rng.normal(size=size)
    return {
        "all equal": np.ones(size),
        "two values": rng.choice([1.0, 1.5], size, p=[0.9, 0.1]),
        "mostly zeros": np.where(rng.random(size) < 0.9, 0, normal),
        "one outlier": np.append(normal[1:] * 1e-3, 1e38),
        "denormal": rng.integers(0, 1000, size) * 1e-45,
        "geometric": rng.permutation(np.geomspace(1e-38, 1e38, size)),
        "few levels": np.round(normal * 8),
    }


def test_exact_whatever_the_distribution():
    size = 1003
    for name, raw in adversarial(size).items():
        scores = raw.astype(np.float32)
        for k in (1, 2, size // 20, size // 2, size - 1):
            np.testing.assert_array_equal(jitted(scores, k), oracle(scores, k), err_msg=f"{name} k={k}")


def test_under_vmap_over_scores_and_k_and_both():
    rng = np.random.default_rng(1)
    scores = jnp.asarray(rng.integers(0, 4, (5, 3, 7)), jnp.float32)
    ks = np.array([0, 1, 4, 9, 21], np.int32)
    both = jax.vmap(jitted)(scores, ks)
    only_scores = jax.vmap(jitted, (0, None))(scores, 6)
    only_k = jax.vmap(jitted, (None, 0))(scores[0], ks)
    for i, k in enumerate(ks):
        np.testing.assert_array_equal(both[i], oracle(scores[i], k))
        np.testing.assert_array_equal(only_scores[i], oracle(scores[i], 6))
        np.testing.assert_array_equal(only_k[i], oracle(scores[0], k))


def test_inside_scan_with_a_k_of_each_step():
    scores = jnp.asarray(np.random.default_rng(2).normal(size=50), jnp.float32)
    ks = np.arange(0, 50, 7, dtype=np.int32)
    _, masks = jax.lax.scan(lambda carry, k: (carry, topk.largest(scores, k)), 0, ks)
    for mask, k in zip(masks, ks, strict=True):
        np.testing.assert_array_equal(mask, oracle(scores, k))


def test_inside_shard_map():
    mesh = jax.make_mesh((2,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("clients")
    scores = np.random.default_rng(3).normal(size=(2, 30)).astype(np.float32)
    ks = np.array([3, 11], np.int32)
    sharded = jax.jit(jax.shard_map(jax.vmap(topk.largest), mesh=mesh, in_specs=(spec, spec), out_specs=spec))
    for mask, row, k in zip(sharded(scores, ks), scores, ks, strict=True):
        np.testing.assert_array_equal(mask, oracle(row, k))


def test_passes_no_gradient_and_stops_none():
    kept = jax.grad(lambda x: jnp.sum(jnp.where(topk.largest(x, 2), x**2, 0)))(jnp.array([1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(kept, [0, 6, 4])


def tree(rng):
    return {
        "a": rng.integers(-3, 4, (4, 3)).astype(np.float32),
        "b": rng.integers(-3, 4, (5,)).astype(np.float32),
        "c": {"d": rng.normal(size=(2, 2, 2)).astype(np.float32), "e": np.float32(1)},
    }


def test_global_is_the_concatenation_of_the_chosen_leaves():
    scores = tree(np.random.default_rng(4))
    among = {"a": True, "b": False, "c": {"d": True, "e": True}}
    joined = np.concatenate([scores["a"].ravel(), scores["c"]["d"].ravel(), scores["c"]["e"].ravel()])
    select = jax.jit(lambda scores, k: topk.largest_global(scores, k, among))
    for k in range(joined.size + 1):
        mask = select(scores, k)
        found = np.concatenate([np.ravel(mask["a"]), np.ravel(mask["c"]["d"]), np.ravel(mask["c"]["e"])])
        np.testing.assert_array_equal(found, oracle(joined, k))
        assert mask["b"].shape == (5,)
        assert mask["b"].all()
    assert jax.tree.map(jnp.shape, select(scores, 3)) == jax.tree.map(jnp.shape, scores)


def test_global_among_no_leaf_is_all_true():
    scores = tree(np.random.default_rng(4))
    masks = topk.largest_global(scores, 0, jax.tree.map(lambda _: False, scores))
    assert all(jax.tree.leaves(jax.tree.map(jnp.all, masks)))


def test_global_over_leaves_of_different_precision():
    scores = {"a": jnp.array([1.0, 2.0], jnp.bfloat16), "b": jnp.array([1.0, 3.0], jnp.float32)}
    mask = topk.largest_global(scores, 3, {"a": True, "b": True})
    np.testing.assert_array_equal(mask["a"], [True, True])
    np.testing.assert_array_equal(mask["b"], [False, True])


def test_per_leaf():
    scores = tree(np.random.default_rng(5))
    among = {"a": True, "b": False, "c": {"d": True, "e": True}}
    select = jax.jit(partial(topk.largest_per_leaf, among=among))
    mask = select(scores, jnp.array([5, 0, 3, 0]))
    np.testing.assert_array_equal(mask["a"], oracle(scores["a"], 5))
    np.testing.assert_array_equal(mask["c"]["d"], oracle(scores["c"]["d"], 3))
    assert not mask["c"]["e"]
    assert mask["b"].all()
