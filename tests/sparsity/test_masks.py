import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import errors, trees
from fedjax_sparse.sparsity import allocation, masks, schedules, topk

KINDS = {"conv": {"kernel": "kernel", "bias": "bias"}, "norm": {"scale": "norm"}, "words": "embedding"}
AMONG = {"conv": {"kernel": True, "bias": False}, "norm": {"scale": False}, "words": True}


def params(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"conv": {"kernel": (3, 3, 2), "bias": (4,)}, "norm": {"scale": (4,)}, "words": (5, 2)}
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


EVERYWHERE = jax.tree.map(lambda _: True, AMONG)
magnitude = jax.jit(lambda tree, k: masks.magnitude(tree, k, AMONG))
magnitude_everywhere = jax.jit(lambda tree, k: masks.magnitude(tree, k, EVERYWHERE))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_prunable_follows_the_kinds():
    assert masks.prunable(KINDS, {"kernel", "embedding"}) == AMONG
    assert all(jax.tree.leaves(masks.prunable(KINDS, masks.SCOPES["all"])))
    assert sum(jax.tree.leaves(masks.prunable(KINDS, masks.SCOPES["kernels"]))) == 1


def test_prunable_names_the_unknown_kind():
    with pytest.raises(errors.UsageError, match="'kernal'; did you mean 'kernel'"):
        masks.prunable(KINDS, {"kernal"})


def test_apply_is_bitwise_zero_outside_and_unchanged_inside():
    tree = {"a": jnp.array([np.nan, -1.0, np.inf, -0.0, np.nan])}
    kept = masks.apply({"a": jnp.array([False, False, False, True, True])}, tree)["a"]
    bits = np.asarray(kept).view(np.uint32)
    np.testing.assert_array_equal(bits, np.array([0, 0, 0, -0.0, np.nan], np.float32).view(np.uint32))


def test_magnitude_is_global_and_not_layer_wise():
    tree = {"small": jnp.array([1.0, -2.0, 3.0]), "large": jnp.array([-100.0, 200.0])}
    mask = masks.magnitude(tree, 3, {"small": True, "large": True})
    np.testing.assert_array_equal(mask["small"], [False, False, True])
    np.testing.assert_array_equal(mask["large"], [True, True])


@pytest.mark.parametrize("k", [0, 1, 14, 27, 28])
def test_magnitude_keeps_k_and_the_larger_ones(k):
    tree = params()
    mask = magnitude(tree, k)
    assert masks.count(mask, AMONG) == k
    assert mask["conv"]["bias"].all()
    weights = flat([tree["conv"]["kernel"], tree["words"]])
    kept = flat([mask["conv"]["kernel"], mask["words"]])
    assert np.min(np.abs(weights[kept]), initial=np.inf) >= np.max(np.abs(weights[~kept]), initial=0)


@pytest.mark.parametrize("s", [0, 0.1, 0.29, 0.5, 0.8, 0.95, 0.99])
def test_magnitude_of_a_thousand_distinct_values(s):
    values = np.random.default_rng(0).permutation(1000) + 1.0
    k = schedules.floor_pruned(1000, s)
    assert k == 1000 - int(s * 1000)
    whole = masks.magnitude({"w": jnp.asarray(values)}, k, {"w": True})["w"]
    np.testing.assert_array_equal(whole, values > 1000 - k)
    # However they are split into layers.
    parts = {"a": jnp.asarray(values[:300]).reshape(10, 30), "b": jnp.asarray(values[300:])}
    np.testing.assert_array_equal(flat(masks.magnitude(parts, k, {"a": True, "b": True})), whole)


@pytest.mark.parametrize(
    ("scores", "kept", "nonzero", "by_index"),
    [
        ([4.0, 3.0, 2.0, 1.0], 2, 4, 0),
        ([0.0, 0.0, 0.0, 0.0], 2, 0, 2),
        ([0.0, 5.0, 0.0, 0.0], 2, 1, 1),
        ([0.0, 5.0, 0.0, 0.0], 1, 1, 0),
        ([0.0, 5.0, 0.0, 0.0], 4, 1, 0),  # everything is kept: there was nothing to decide
        ([7.0, 7.0, 7.0, 7.0], 3, 4, 3),
        ([9.0, 7.0, 7.0, 7.0], 3, 4, 0),  # a tie at the threshold alone happens
        ([-1.0, 0.0, 0.0, 3.0], 2, 2, 1),
        ([0.0, 0.0, -np.inf, 3.0], 2, 1, 1),  # minus infinity: no candidate
    ],
)
def test_a_ranking_says_how_many_scores_were_not_zero_and_what_places_decided(
    scores, kept, nonzero, by_index
):
    values, among = [jnp.asarray(scores[:1]), jnp.asarray(scores[1:]), jnp.zeros(3)], [True, True, False]
    mask = topk.largest_global(values, kept, among)
    assert masks.ranking(values, mask, among) == (nonzero, by_index)
    with_ties = masks.with_ties(mask, values, among, layerwise=False)
    assert masks.ranking(values, with_ties, among) == (nonzero, 0)


def test_a_ranking_of_each_layer():
    values, among = [jnp.zeros(4), jnp.asarray([1.0, 2.0, 0.0])], [True, True]
    mask = topk.largest_per_leaf(values, [2, 2], among)
    assert masks.ranking(values, mask, among, layerwise=True) == (2, 2)


def test_magnitude_of_the_fashion_mnist_network():
    """All 118,282 trainable scalars of 784-128-128-10, at 95 %."""
    shapes = [(784, 128), (128,), (128, 128), (128,), (128, 10), (10,)]
    rng = np.random.default_rng(0)
    values = np.split(rng.permutation(118_282) + 1.0, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    tree = [
        jnp.asarray(value, jnp.float32).reshape(shape) for value, shape in zip(values, shapes, strict=True)
    ]
    kept = flat(masks.magnitude(tree, 5_915, [True] * 6))
    np.testing.assert_array_equal(kept, flat(tree) > 118_282 - 5_915)


def test_magnitude_is_idempotent_and_leaves_a_sparser_model_alone():
    tree = params()
    pruned = masks.apply(magnitude_everywhere(tree, 10), tree)
    for k in (10, 20):
        again = masks.apply(magnitude_everywhere(pruned, k), pruned)
        np.testing.assert_array_equal(flat(again), flat(pruned))


def test_nonzero():
    tree = {"a": jnp.array([0.0, -0.0, 1.0, np.nan]), "b": jnp.zeros(2)}
    mask = masks.nonzero(tree, {"a": True, "b": False})
    np.testing.assert_array_equal(mask["a"], [False, False, True, True])
    np.testing.assert_array_equal(mask["b"], [True, True])


def test_counts_and_density():
    mask = {
        "a": jnp.array([[True, False], [False, False]]),
        "b": jnp.ones(3, bool),
        "c": jnp.zeros((0,), bool),
    }
    np.testing.assert_array_equal(trees.count_nonzero(mask), [1, 3, 0])
    np.testing.assert_allclose(masks.density(mask), [0.25, 1, 1])
    assert masks.count(mask, {"a": True, "b": False, "c": True}) == 1
    assert masks.count(masks.ones(mask), {"a": True, "b": True, "c": True}) == 7


def test_intersection_union_and_their_ratio():
    a = {"w": jnp.array([True, True, False, False]), "b": jnp.ones(2, bool)}
    b = {"w": jnp.array([True, False, True, False]), "b": jnp.ones(2, bool)}
    among = {"w": True, "b": False}
    np.testing.assert_array_equal(masks.intersect(a, b)["w"], [True, False, False, False])
    np.testing.assert_array_equal(masks.union(a, b)["w"], [True, True, True, False])
    assert masks.iou(a, b, among) == pytest.approx(1 / 3)
    assert masks.iou(a, b, {"w": True, "b": True}) == pytest.approx(3 / 5)
    assert masks.iou(a, a, among) == 1
    empty = jax.tree.map(jnp.zeros_like, a)
    assert masks.iou(a, empty, among) == 0
    assert masks.iou(empty, empty, among) == 1


def test_random_masks_overlap_as_chance_has_it():
    """Two random masks of density d have an intersection over union of d / (2 - d)."""
    draws = [{"w": jax.random.uniform(jax.random.key(i), (20_000,))} for i in range(2)]
    select = jax.jit(lambda draw: masks.magnitude(draw, 4_000, {"w": True}))
    a, b = [select(draw) for draw in draws]
    assert masks.iou(a, b, {"w": True}) == pytest.approx(0.2 / 1.8, abs=0.01)


def test_allocate_keeps_the_leaves_not_chosen_whole():
    kept = masks.allocate(allocation.uniform, params(), 0.5, AMONG)
    np.testing.assert_array_equal(kept, [4, 9, 4, 5])
    assert kept.dtype == np.int32


def test_allocate_names_the_leaf_that_would_be_empty():
    with pytest.raises(errors.UsageError, match="conv/kernel"):
        masks.allocate(allocation.uniform, params(), 0.99, AMONG)


def test_under_vmap():
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), params(1), params(2), params(3))
    ks = jnp.array([3, 9, 27])
    batched = jax.jit(jax.vmap(magnitude))(stacked, ks)
    np.testing.assert_array_equal(jax.vmap(lambda mask: masks.count(mask, AMONG))(batched), ks)
    for i, k in enumerate(ks):
        one = magnitude(params(i + 1), k)
        np.testing.assert_array_equal(flat(one), flat(jax.tree.map(lambda leaf, i=i: leaf[i], batched)))
