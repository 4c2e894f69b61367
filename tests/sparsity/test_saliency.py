import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.sparsity import masks, saliency, topk
from fedjax_sparse.types import PyTree


def toy_loss(w):
    """(w.x - y)^2 / 2 with x = (1, 1, 2), y = 4: at w = (1, -2, 3) the residual is 1 and g = x."""
    return (jnp.dot(w, jnp.array([1.0, 1.0, 2.0])) - 4) ** 2 / 2


def network(key=0) -> PyTree:
    """Two dense layers in float64 whose biases are zero."""
    rng = np.random.default_rng(key)
    return {
        "a": {"kernel": jnp.asarray(rng.normal(size=(4, 5))), "bias": jnp.zeros(5)},
        "b": {"kernel": jnp.asarray(rng.normal(size=(5, 3))), "bias": jnp.zeros(3)},
    }


def network_loss(params):
    rng = np.random.default_rng(9)
    x, y = jnp.asarray(rng.normal(size=(6, 4))), jnp.asarray(rng.integers(0, 3, 6))
    hidden = jnp.tanh(x @ params["a"]["kernel"] + params["a"]["bias"][None])
    logits = hidden @ params["b"]["kernel"] + params["b"]["bias"][None]
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(6), y])


def test_golden_toy_separates_snip_from_grasp():
    w = jnp.array([1.0, -2.0, 3.0])
    snip, grasp = saliency.snip(toy_loss, w), saliency.grasp(toy_loss, w)
    np.testing.assert_allclose(snip, [1, 2, 6])
    np.testing.assert_allclose(grasp, [6, -12, 36])
    np.testing.assert_array_equal(topk.largest(snip, 2), [False, True, True])
    np.testing.assert_array_equal(topk.largest(grasp, 2), [True, False, True])


def test_golden_linear_model_whose_bias_is_a_constant():
    """Half the mean squared error of x w + b, b held fixed: g = (1, 0.75), H = x'x / 2, w H g = (4.25, -4.875)."""
    x, y = jnp.array([[1.0, 0.0], [1.0, 3.0]]), jnp.array([1.0, -1.0])
    params = {"w": jnp.array([2.0, -1.0]), "b": jnp.array(0.5)}

    def loss(params):
        return jnp.mean((x @ params["w"] + params["b"] - y) ** 2) / 2

    kernels = saliency.grasp(saliency.of_chosen(loss, {"w": True, "b": False}), params)
    np.testing.assert_allclose(kernels["w"], [4.25, -4.875])
    assert kernels["b"] == 0
    np.testing.assert_allclose(saliency.grasp(loss, params)["w"], [6.25, -6.375])


def test_magnitude():
    scores = saliency.magnitude({"a": jnp.array([-2.0, 0.0, 1.0])})
    np.testing.assert_array_equal(scores["a"], [2, 0, 1])


def test_snip_is_the_slope_of_the_loss_in_a_gate_on_each_weight():
    with jax.enable_x64(True):
        params, eps = network(), 1e-5
        flat, unravel = jax.flatten_util.ravel_pytree(params)
        loss = jax.jit(lambda gate: network_loss(unravel(gate * flat)))
        gates = 1 + eps * np.eye(flat.size)
        difference = np.array([loss(gate) - loss(2 - gate) for gate in gates]) / (2 * eps)
        found, _ = jax.flatten_util.ravel_pytree(saliency.snip(network_loss, params))
        np.testing.assert_allclose(found, np.abs(difference), atol=1e-8)


def test_grasp_is_the_weight_times_the_change_of_the_gradient_along_itself():
    with jax.enable_x64(True):
        params, eps = network(), 1e-5
        gradient = jax.jit(jax.grad(network_loss))
        g = gradient(params)
        ahead = gradient(jax.tree.map(lambda w, d: w + eps * d, params, g))
        behind = gradient(jax.tree.map(lambda w, d: w - eps * d, params, g))
        found = jax.jit(lambda p: saliency.grasp(network_loss, p))(params)
        expected = jax.tree.map(lambda w, a, b: w * (a - b) / (2 * eps), params, ahead, behind)
        jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, atol=1e-8), found, expected)


def test_grasp_goes_through_a_custom_gradient():
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, cotangent: (3 * x**2 * cotangent,))
    w = jnp.array([1.0, 2.0])
    found = saliency.grasp(lambda w: jnp.sum(cube(w)), w)
    np.testing.assert_allclose(found, w * (6 * w) * (3 * w**2), rtol=1e-6)


@pytest.mark.parametrize("score", [saliency.snip, saliency.grasp])
def test_a_multiple_of_the_loss_gives_the_same_mask_and_zero_biases_score_zero(score):
    with jax.enable_x64(True):
        params = network()
        among = jax.tree.map(lambda _: True, params)
        both = jax.jit(lambda p: (score(network_loss, p), score(lambda q: 1000 * network_loss(q), p)))
        scores, scaled = both(params)
        assert not jnp.any(scores["a"]["bias"])
        assert not jnp.any(scores["b"]["bias"])
        select = jax.jit(lambda scores, k: topk.largest_global(scores, k, among))
        for k in (1, 10, 30):
            one, other = select(scores, k), select(scaled, k)
            assert masks.count(one, among) == k
            assert masks.iou(one, other, among) == 1


def test_random_scores_are_reproducible_and_their_masks_nested():
    params = {"a": jnp.zeros((30, 10), jnp.bfloat16), "b": jnp.zeros(50)}
    among = {"a": True, "b": True}
    scores = saliency.random(jax.random.key(3), params)
    again = saliency.random(jax.random.key(3), params)
    other = saliency.random(jax.random.key(4), params)
    assert jax.tree.map(jnp.shape, scores) == jax.tree.map(jnp.shape, params)
    assert (
        len(np.unique(np.asarray(scores["a"]))) > 295
    )  # as many as the parameters' own precision would not give
    np.testing.assert_array_equal(scores["a"], again["a"])
    assert (scores["a"] != other["a"]).any()
    select = jax.jit(lambda k: topk.largest_global(scores, k, among))
    larger = select(350)
    for k in (300, 120, 3):
        smaller = select(k)
        assert masks.count(smaller, among) == k
        assert masks.count(masks.intersect(smaller, larger), among) == k
        larger = smaller


def test_under_vmap_over_clients():
    def score(params, target):
        return saliency.snip(lambda p: jnp.sum((p - target) ** 2), params)

    w, targets = jnp.array([1.0, -2.0]), jnp.array([[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(jax.vmap(score, (None, 0))(w, targets), [[2, 8], [0, 12]])
