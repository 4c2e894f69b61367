import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.sparsity import regrow

AMONG = {"w": True, "b": False}
move = jax.jit(lambda params, mask, scores, n: regrow.prune_and_regrow(params, mask, scores, n, AMONG))


def problem(seed=0, live=7):
    rng = np.random.default_rng(seed)
    mask = {"w": (rng.permutation(16) < live).reshape(4, 4), "b": np.ones(3, bool)}
    params = {"w": np.where(mask["w"], rng.normal(size=(4, 4)), 0).astype(np.float32), "b": np.ones(3)}
    scores = {"w": rng.random((4, 4)).astype(np.float32), "b": np.ones(3)}
    return params, mask, scores


def test_small_example_by_hand():
    params = {"w": jnp.array([3.0, -0.5, 2.0, 0.0, 0.0, 0.0]), "b": jnp.ones(3)}
    mask = {"w": jnp.array([True, True, True, False, False, False]), "b": jnp.ones(3, bool)}
    scores = {"w": jnp.array([9.0, 0.1, 9.0, 0.2, 0.7, 0.3]), "b": jnp.ones(3)}
    new, new_mask, grown = move(params, mask, scores, jnp.array([5, 1]))
    np.testing.assert_array_equal(new_mask["w"], [True, False, True, False, True, False])
    np.testing.assert_array_equal(grown["w"], [False, False, False, False, True, False])
    np.testing.assert_array_equal(new["w"], [3, 0, 2, 0, 0, 0])
    np.testing.assert_array_equal(new["b"], 1)
    assert not grown["b"].any()


def test_what_was_just_dropped_may_grow_again_from_zero():
    params = {"w": jnp.array([3.0, -0.5, 0.0]), "b": jnp.ones(3)}
    mask = {"w": jnp.array([True, True, False]), "b": jnp.ones(3, bool)}
    scores = {"w": jnp.array([1.0, 5.0, 2.0]), "b": jnp.ones(3)}
    new, new_mask, grown = move(params, mask, scores, jnp.array([0, 1]))
    np.testing.assert_array_equal(new_mask["w"], mask["w"])
    np.testing.assert_array_equal(grown["w"], [False, True, False])
    np.testing.assert_array_equal(new["w"], [3, 0, 0])


@given(seed=st.integers(0, 10**6), live=st.integers(0, 16), n=st.integers(-1, 20))
def test_invariants(seed, live, n):
    params, mask, scores = problem(seed, live)
    new, new_mask, grown = jax.tree.map(np.asarray, move(params, mask, scores, np.array([0, n])))
    weights, survivors = params["w"], new_mask["w"] & ~grown["w"]
    assert new_mask["w"].sum() == live
    assert grown["w"].sum() == min(max(n, 0), live)
    assert not (survivors & ~mask["w"]).any()
    np.testing.assert_array_equal(new["w"], np.where(survivors, weights, 0))
    dropped = mask["w"] & ~survivors
    assert np.abs(weights[dropped]).max(initial=0) <= np.abs(weights[survivors]).min(initial=np.inf)
    assert scores["w"][~new_mask["w"]].max(initial=-1) <= scores["w"][grown["w"]].min(initial=2)


def test_counts_stay_exact_when_scores_and_weights_are_zero_or_not_finite():
    _, mask, _ = problem()
    for weight, score in [(0.0, 0.0), (np.nan, np.nan), (1.0, -np.inf)]:
        params = {"w": jnp.full((4, 4), weight), "b": jnp.ones(3)}
        scores = {"w": jnp.full((4, 4), score), "b": jnp.ones(3)}
        _, new_mask, grown = move(params, mask, scores, jnp.array([0, 3]))
        assert new_mask["w"].sum() == 7
        assert grown["w"].sum() == 3


def test_under_vmap_with_a_count_for_each_client():
    params, mask, scores = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[problem(seed) for seed in range(3)]
    )
    n = jnp.array([[0, 0], [0, 2], [0, 7]])
    new, new_mask, grown = jax.vmap(move)(params, mask, scores, n)
    np.testing.assert_array_equal(grown["w"].sum((1, 2)), [0, 2, 7])
    for i in range(3):
        alone = move(*problem(i), n[i])
        for batched, one in zip((new, new_mask, grown), alone, strict=True):
            np.testing.assert_array_equal(batched["w"][i], one["w"])


def test_moments_of_grown_entries_restart_at_zero_and_nothing_else_changes():
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones(3)}
    optimizer = optax.chain(optax.clip(1.0), optax.adam(0.1))
    _, state = optimizer.update(jax.tree.map(lambda x: 0.5 * x, params), optimizer.init(params), params)
    grown = {"w": jnp.array([[True, False], [False, False]]), "b": jnp.array([False, True, False])}
    new = regrow.reset_grown(state, grown)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    (before,), (after,) = (
        [part for part in jax.tree.leaves(tree, is_leaf=is_adam) if is_adam(part)] for tree in (state, new)
    )
    assert after.count == before.count == 1
    for old, fresh in ((before.mu, after.mu), (before.nu, after.nu)):
        for name, where in grown.items():
            assert not fresh[name][where].any()
            np.testing.assert_array_equal(fresh[name][~where], old[name][~where])
            assert old[name].all()


def is_adam(node):
    return isinstance(node, optax.ScaleByAdamState)


def test_reset_of_a_bare_array_leaves_counters_alone():
    state = {"momentum": jnp.ones(3), "count": jnp.int32(4)}
    new = regrow.reset_grown(state, jnp.array([True, False, True]))
    np.testing.assert_array_equal(new["momentum"], [0, 1, 0])
    assert new["count"] == 4


def test_a_ranking_says_what_grew_by_its_place():
    """Two of four dead entries grow, of which one alone has a gradient."""
    mask, scores = [jnp.array([True, True, False, False, False, False])], [jnp.array([9.0, 9, 0, 0, 2, 0])]
    weights = [jnp.array([5.0, 4, 0, 0, 0, 0])]
    _, new, grown = regrow.prune_and_regrow(weights, mask, scores, [0], [True])
    assert regrow.ranking(scores, new, grown, [True]) == (1, 0)
    new, grown = (
        [jnp.array([True, True, True, False, True, False])],
        [jnp.array([False, False, True, False, True, False])],
    )
    assert regrow.ranking(scores, new, grown, [True]) == (1, 1)
