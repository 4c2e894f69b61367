from functools import partial
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.sparsity import compression, masks

AMONG = {"a": True, "b": True, "c": False}
numbers = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0]), st.floats(-1e6, 1e6, width=32))
updates = st.lists(numbers, min_size=17, max_size=17).map(
    lambda v: {
        "a": jnp.asarray(v[:12], jnp.float32).reshape(3, 4),
        "b": jnp.asarray(v[12:], jnp.float32),
        "c": jnp.ones(2),
    }
)

select_global = jax.jit(partial(compression.top_k, among=AMONG))
select_per_leaf = jax.jit(partial(compression.top_k_per_leaf, among=AMONG))
select_above_next = jax.jit(partial(compression.above_next_per_leaf, among=AMONG))
select_random = jax.jit(partial(compression.random_k, among=AMONG))


def assert_is_the_part(part, mask, whole):
    """`part` is `whole` inside the mask and zero outside; leaf c, which was not chosen, is whole."""
    for name, leaf in whole.items():
        np.testing.assert_array_equal(part[name], np.where(mask[name], leaf, 0))
    assert mask["c"].all()


@given(updates, st.integers(0, 17))
def test_top_k_over_all_leaves(tree, k):
    sent, mask = select_global(tree, k)
    assert_is_the_part(sent, mask, tree)
    assert masks.count(mask, AMONG) == k
    sizes = np.abs(np.concatenate([np.ravel(tree["a"]), tree["b"]]))
    kept = np.concatenate([np.ravel(mask["a"]), mask["b"]])
    assert sizes[kept].min(initial=np.inf) >= sizes[~kept].max(initial=0)


@given(updates, st.integers(0, 12), st.integers(0, 5))
def test_top_k_per_leaf(tree, k_a, k_b):
    sent, mask = select_per_leaf(tree, jnp.array([k_a, k_b, 0]))
    assert_is_the_part(sent, mask, tree)
    assert (mask["a"].sum(), mask["b"].sum()) == (k_a, k_b)


@given(updates, st.integers(0, 12), st.integers(0, 5))
def test_above_next_per_leaf(tree, k_a, k_b):
    sent, mask = select_above_next(tree, jnp.array([k_a, k_b, 0]))
    assert_is_the_part(sent, mask, tree)
    for name, k in (("a", k_a), ("b", k_b)):
        sizes = np.abs(np.asarray(tree[name]))
        sizes = np.where(sizes < np.finfo(np.float32).tiny, 0, sizes)  # as in XLA's comparisons on a CPU
        in_order = np.append(np.sort(sizes.ravel())[::-1], 0)
        np.testing.assert_array_equal(mask[name], sizes > in_order[k])
        assert mask[name].sum() <= k


def test_above_next_leaves_out_ties_and_sends_nothing_of_zeros():
    tree = {"a": jnp.array([1.0, -3.0, 2.0, 2.0, -2.0]), "b": jnp.zeros(4), "c": jnp.array([5.0])}
    everywhere = {"a": True, "b": True, "c": True}
    sent, mask = compression.above_next_per_leaf(tree, [3, 2, 1], everywhere)
    np.testing.assert_array_equal(sent["a"], [0, -3, 0, 0, 0])
    assert not mask["b"].any()
    assert mask["c"].all()


def test_random_k_draws_every_entry_equally_often():
    tree = {"a": jnp.ones((3, 4)), "b": jnp.ones(5), "c": jnp.ones(2)}
    sent, drawn = jax.vmap(lambda key: select_random(tree, key, 5))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_array_equal(drawn["a"].sum((1, 2)) + drawn["b"].sum(1), 5)
    shares = np.concatenate([np.ravel(drawn["a"].mean(0)), drawn["b"].mean(0)])
    np.testing.assert_allclose(shares, 5 / 17, atol=5 * np.sqrt(5 / 17 * 12 / 17 / 4000))
    np.testing.assert_array_equal(sent["a"], drawn["a"])


def test_random_k_per_leaf_draws_as_many_of_each_leaf_as_asked():
    tree = {"a": jnp.ones((3, 4)), "b": jnp.ones(5), "c": jnp.ones(2)}
    ks = np.asarray([4, 2, 0], np.int32)
    draw = jax.vmap(lambda key: compression.random_k_per_leaf(tree, key, ks, AMONG))
    sent, drawn = draw(jax.random.split(jax.random.key(0), 4000))
    for leaf, k, size in (("a", 4, 12), ("b", 2, 5)):
        by_draw = drawn[leaf].reshape(4000, -1)
        np.testing.assert_array_equal(by_draw.sum(1), k)
        np.testing.assert_allclose(by_draw.mean(0), k / size, atol=5 * np.sqrt(0.25 / 4000))
        np.testing.assert_array_equal(sent[leaf], drawn[leaf])
    assert drawn["c"].all()


def test_remainder_feedback_keeps_what_the_receiver_does_not_read():
    update, residual = {"a": jnp.asarray([1.0, -2.0, 0.5])}, {"a": jnp.asarray([0.0, 0.5, 0.25])}
    halved = lambda tree: (jax.tree.map(lambda leaf: leaf / 2, tree), 7)  # noqa: E731
    sent, rest, counts = compression.remainder_feedback(halved, update, residual)
    np.testing.assert_array_equal(sent["a"], [0.5, -0.75, 0.375])
    np.testing.assert_array_equal(rest["a"], [0.5, -0.75, 0.375])
    assert counts == 7


def test_soft_threshold():
    tree = {"a": jnp.array([3.0, -0.5, -2.0, 1.0, 0.0]), "b": jnp.array([0.25]), "c": jnp.array([0.1])}
    shrunk, mask = compression.soft_threshold(tree, 1.0, AMONG)
    np.testing.assert_array_equal(shrunk["a"], [2, 0, -1, 0, 0])
    np.testing.assert_array_equal(mask["a"], [True, False, True, False, False])
    np.testing.assert_array_equal(shrunk["b"], 0)
    np.testing.assert_array_equal(shrunk["c"], tree["c"])


def test_soft_threshold_minimises_its_objective():
    x, threshold = 1.7, 0.6
    grid = np.linspace(-3, 3, 60_001)
    best = grid[np.argmin(threshold * np.abs(grid) + (grid - x) ** 2 / 2)]
    shrunk, _ = compression.soft_threshold({"a": jnp.array(x)}, threshold, {"a": True})
    assert shrunk["a"] == pytest.approx(best, abs=1e-4)


@given(updates, updates, st.integers(0, 17))
def test_error_feedback_conserves_exactly_with_disjoint_supports(update, residual, k):
    sent, rest, mask = compression.error_feedback(lambda tree: select_global(tree, k), update, residual)
    for name in update:
        total = update[name] + residual[name]
        np.testing.assert_array_equal(sent[name] + rest[name], total)
        assert not ((sent[name] != 0) & (rest[name] != 0)).any()
        np.testing.assert_array_equal(sent[name], np.where(mask[name], total, 0))


def test_error_feedback_telescopes_over_rounds():
    """What was sent in all rounds, and what is left, is the sum of all updates."""
    with jax.enable_x64(True):
        steps = np.random.default_rng(0).normal(size=(30, 20))

        def one(residual, update):
            sent, residual, _ = compression.error_feedback(
                lambda tree: compression.top_k(tree, 2, {"w": True}), {"w": update}, residual
            )
            return residual, sent["w"]

        residual, sent = jax.lax.scan(one, {"w": jnp.zeros(20)}, jnp.asarray(steps))
        np.testing.assert_array_equal((sent != 0).sum(1), 2)
        np.testing.assert_allclose(sent.sum(0) + residual["w"], steps.sum(0), atol=1e-12)


def test_all_entries_is_no_compression():
    tree = {"a": jnp.arange(12.0).reshape(3, 4), "b": -jnp.ones(5), "c": jnp.ones(2)}
    for sent, _ in (select_global(tree, 17), select_per_leaf(tree, jnp.array([12, 5, 0]))):
        jax.tree.map(np.testing.assert_array_equal, sent, tree)


def test_under_vmap_with_a_count_for_each_client():
    rng = np.random.default_rng(1)
    trees = {"a": jnp.asarray(rng.normal(size=(3, 3, 4))), "b": jnp.zeros((3, 5)), "c": jnp.ones((3, 2))}
    ks = jnp.array([[0, 0, 0], [3, 1, 0], [12, 5, 0]])
    _, exact = jax.vmap(partial(compression.top_k_per_leaf, among=AMONG))(trees, ks)
    _, strict = jax.vmap(partial(compression.above_next_per_leaf, among=AMONG))(trees, ks)
    np.testing.assert_array_equal(exact["a"].sum((1, 2)), [0, 3, 12])
    np.testing.assert_array_equal(strict["a"].sum((1, 2)), [0, 3, 12])
    np.testing.assert_array_equal(strict["b"].sum(1), 0)


def with_biases(*kernels):
    return [size for kernel in kernels for size in (prod(kernel), kernel[-1])]


FC = with_biases((784, 4069), (4069, 4069), (4069, 4069), (4069, 10))
CNN = with_biases((5, 5, 1, 32), (5, 5, 32, 64), (1024, 512), (512, 10))


@pytest.mark.parametrize(
    ("sizes", "parameters", "percent", "kept"),
    [
        (FC, 36_356_525, 0.1, 36_365),
        (FC, 36_356_525, 0.01, 3_643),
        (FC, 36_356_525, 0.001, 372),
        (FC, 36_356_525, 0.0001, 45),
        (CNN, 582_026, 0.1, 590),
        (CNN, 582_026, 0.01, 66),
        (CNN, 582_026, 0.001, 14),
        (CNN, 582_026, 0.0001, 9),
    ],
)
def test_flare_counts_golden(sizes, parameters, percent, kept):
    """The networks of FLARE's official code for MNIST; round(size R / 100) + 1 entries of each tensor."""
    assert sum(sizes) == parameters
    counts = compression.flare_counts(sizes, percent)
    assert counts.dtype == np.int32
    assert counts.sum() == kept


def test_flare_counts_by_tensor():
    np.testing.assert_array_equal(compression.flare_counts(FC, 0.001), [33, 1, 167, 1, 167, 1, 1, 1])


def test_counts_round_halves_to_even_and_stay_within_the_leaf():
    sizes = [50, 150, 250, 1, 2000]
    np.testing.assert_array_equal(compression.exact_counts(sizes, 1), [1, 2, 2, 1, 20])
    np.testing.assert_array_equal(compression.flare_counts(sizes, 1), [1, 3, 3, 1, 21])
    np.testing.assert_array_equal(compression.exact_counts(sizes, 100), sizes)
    np.testing.assert_array_equal(compression.flare_counts(sizes, 100), sizes)
