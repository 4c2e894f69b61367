"""Parameter counts, losses against hand-made values, and what each model says of its parameters."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from fedjax_sparse import trees
from fedjax_sparse.errors import UsageError
from fedjax_sparse.models import MODELS
from fedjax_sparse.models.layers import DEFAULT, Ops
from fedjax_sparse.models.model import build, from_network
from fedjax_sparse.models.resnet import ResNet
from fedjax_sparse.types import Variables

PUBLISHED = {
    "linear": ((123,), 1),
    "logistic": ((123,), 2),
    "softmax": ((28, 28, 1), 10),
    "mlp": ((28, 28, 1), 10),
    "femnist_cnn": ((28, 28, 1), 62),
    "vgg16": ((32, 32, 3), 100),
    "flare_fc": ((28, 28, 1), 10),
    "flare_cnn": ((28, 28, 1), 10),
    "gru": ((100,), 86),
}
# Small enough to run: input shape, classes, options.
SMALL = {
    "linear": ((5,), 2, {}),
    "logistic": ((5,), 2, {}),
    "softmax": ((5,), 3, {}),
    "mlp": ((8, 8, 1), 10, {}),
    "lenet5": ((12, 12, 1), 10, {}),
    "femnist_cnn": ((8, 8, 1), 10, {}),
    "pfl_cnn": ((8, 8, 1), 10, {}),
    "cifar_cnn": ((8, 8, 1), 10, {}),
    "resnet": ((8, 8, 1), 10, {"norm": "batch"}),
    "gru": ((4,), 7, {"embedding": 3, "hidden": 5}),
}


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0))


def examples(name, batch=3, seed=0):
    """A batch of inputs and labels that the small model takes."""
    rng = np.random.default_rng(seed)
    shape, classes, _ = SMALL[name]
    if name == "gru":
        x, y = rng.integers(0, classes, (2, batch, *shape), dtype=np.int32)
        return jnp.asarray(x), jnp.asarray(y)
    y = (
        rng.standard_normal((batch, classes))
        if name == "linear"
        else rng.integers(0, classes, batch, dtype=np.int32)
    )
    return jnp.asarray(rng.standard_normal((batch, *shape)), jnp.float32), jnp.asarray(y, dtype=None)


def start(model, seed=0):
    """Some variables of the model, much quicker to make than by compiling its `init`."""
    rng = np.random.default_rng(seed)
    variables = shapes(model)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), leaf.dtype), variables.params
    )
    return Variables(params, jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), variables.stats))


def small(name, **options):
    shape, classes, defaults = SMALL[name]
    if name == "resnet":
        network = ResNet(classes, widths=(4, 8), blocks=1, groups=2, **{**defaults, **options})
        return from_network(name, network, shape)
    return build(name, shape, classes, **{**defaults, **options})


@pytest.mark.parametrize("name", MODELS)
def test_published_parameter_count(name):
    model = build(name, *PUBLISHED.get(name, ((32, 32, 3), 10)))
    assert trees.size(shapes(model).params) == MODELS[name][2]


@pytest.mark.parametrize(
    ("name", "classes", "options", "count"),
    [
        ("resnet18", 100, {}, 11_220_132),
        ("resnet18", 10, {"norm": "batch"}, 11_173_962),
        ("resnet20", 10, {"width": 32}, 1_073_962),
        ("vgg16", 10, {"norm": "none", "hidden": (4096, 4096)}, 33_638_218),
        ("vgg11", 10, {"norm": "none", "hidden": (4096, 4096)}, 28_144_010),
        ("mlp", 10, {"hidden": ()}, 30_730),
    ],
)
def test_parameter_count_with_options(name, classes, options, count):
    assert trees.size(shapes(build(name, (32, 32, 3), classes, **options)).params) == count


def test_vgg_normalises_between_convolution_and_relu():
    """Norms that give -1 everywhere leave nothing after the ReLU, so that only the last bias is left."""
    model = build("vgg11", (32, 32, 3), 10)
    variables = model.init(jax.random.key(0))

    def of_norm(kind, name, leaf):
        return jnp.full_like(leaf, -1.0 if name.endswith("bias") else 0.0) if kind == "norm" else leaf

    params = variables.params
    names = jax.tree.structure(params).unflatten(trees.names(params))
    params = jax.tree.map(of_norm, model.kinds, names, params)
    x = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    outputs, _ = model.apply(variables._replace(params=params), x, train=False)
    np.testing.assert_array_equal(outputs, 0)


def test_resnet18_kernels_are_all_but_norms_and_the_last_bias():
    model = build("resnet18", (32, 32, 3), 10)
    sizes, leaves = dict.fromkeys(("kernel", "norm", "bias"), 0), jax.tree.leaves(shapes(model).params)
    for kind, leaf in zip(jax.tree.leaves(model.kinds), leaves, strict=True):
        sizes[kind] += leaf.size
    assert sum(leaf.size for leaf in leaves if leaf.shape[:2] == (1, 1)) == 172_032  # the three shortcuts
    assert sizes == {"kernel": 11_164_352, "norm": 9_600, "bias": 10}


def test_the_table_needs_no_jax():
    code = "import sys, fedjax_sparse.models; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in SMALL), ("resnet", {"norm": "group", "project": False})]
)
def test_a_small_gradient_step_lowers_the_loss_as_much_as_promised(name, options):
    model = small(name, **options)
    x, y = examples(name)
    variables = start(model)

    @jax.jit
    def slope(params):
        def loss(params):
            outputs, stats = model.apply(
                Variables(params, variables.stats), x, train=True, key=jax.random.key(1)
            )
            return jnp.mean(model.loss(outputs, y)), (outputs, stats)

        (value, (outputs, stats)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        norm = trees.norm(gradient)
        return value, norm, trees.add_scaled(params, -1e-3 / norm, gradient), outputs, stats

    before, norm, stepped, outputs, stats = slope(variables.params)
    after = slope(stepped)[0]
    np.testing.assert_allclose(before - after, 1e-3 * norm, rtol=0.1)
    assert jax.tree.structure(stats) == jax.tree.structure(variables.stats)
    if model.correct is not None:
        fraction = model.correct(outputs, y)
        assert fraction.shape == (3,)
        assert ((fraction >= 0) & (fraction <= 1)).all()


def test_initial_values():
    """Glorot uniform kernels, zero biases, unit scales, statistics of a standard normal; linear models from zero."""
    params, stats = small("cifar_cnn").init(jax.random.key(0))
    limit = np.sqrt(6 / (3 * 3 * 64 + 3 * 3 * 64))
    kernel = params["Conv_1"]["kernel"]
    assert type(params) is dict
    assert 0.99 * limit < jnp.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.02)
    np.testing.assert_array_equal(params["Conv_1"]["bias"], 0)
    np.testing.assert_array_equal(params["BatchNorm_0"]["scale"], 1)
    np.testing.assert_array_equal(stats["BatchNorm_0"]["mean"], 0)
    np.testing.assert_array_equal(stats["BatchNorm_0"]["var"], 1)
    assert trees.norm(small("softmax").init(jax.random.key(0)).params) == 0


def test_bfloat16_starts_where_float32_does():
    single, half = (
        small("gru", dtype=dtype).init(jax.random.key(0)).params for dtype in ("float32", jnp.bfloat16)
    )
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(jnp.bfloat16), b), single, half)


@pytest.mark.parametrize("name", ["cifar_cnn", "gru"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float64])
def test_dtype_of_parameters_outputs_losses_and_statistics(name, dtype):
    with jax.enable_x64(True):
        model = small(name, dtype=dtype)
        x, y = examples(name)
        variables = start(model)
        run = jax.jit(lambda v: model.apply(v, x, train=True, key=jax.random.key(1)))
        outputs, stats = run(variables)
        at_least_float32 = jnp.promote_types(dtype, jnp.float32)
        assert {leaf.dtype for leaf in jax.tree.leaves((variables.params, outputs))} == {jnp.dtype(dtype)}
        assert model.loss(outputs, y).dtype == at_least_float32
        for leaf in jax.tree.leaves((variables.stats, stats)):
            assert leaf.dtype == at_least_float32


def test_losses_by_hand():
    linear, logistic, softmax = small("linear"), small("logistic"), small("softmax")
    np.testing.assert_allclose(linear.loss(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])), [5.0])
    assert linear.correct is None
    assert logistic.correct is not None
    assert softmax.correct is not None
    logit = jnp.array([[0.0], [2.0], [-200.0]])
    np.testing.assert_allclose(
        logistic.loss(logit, jnp.array([1, 1, 1])), [np.log(2), np.log1p(np.exp(-2)), 200], rtol=1e-6
    )
    np.testing.assert_array_equal(logistic.correct(logit, jnp.array([0, 1, 1])), [1, 1, 0])
    logits = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    wanted = [np.log(3), np.log(np.exp(3) + 2)]
    np.testing.assert_allclose(softmax.loss(logits, jnp.array([2, 1])), wanted, rtol=1e-6)
    np.testing.assert_array_equal(softmax.correct(logits, jnp.array([0, 1])), [1, 0])


def test_text_loss_ignores_padding():
    model = small("gru")
    logits = jnp.zeros((3, 4, 7)).at[1, 0, 2].set(5.0)
    y = jnp.array([[0, 1, 2, 3], [2, 6, -1, -1], [-1, -1, -1, -1]])
    sure = -np.log(np.exp(5) / (np.exp(5) + 6))
    np.testing.assert_allclose(model.loss(logits, y), [np.log(7), (sure + np.log(7)) / 2, 0], rtol=1e-6)
    assert model.correct is not None
    np.testing.assert_allclose(model.correct(logits, y), [1 / 4, 1 / 2, 0])


def test_dropout_follows_the_key_and_only_in_training():
    model = small("pfl_cnn")
    x, _ = examples("pfl_cnn")
    variables = start(model)

    @jax.jit
    def run(variables, key):
        return [model.apply(variables, x, train=train, key=key)[0] for train in (True, False)]

    (first, calm), (again, _), (other, same) = (run(variables, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(calm, same)


@pytest.fixture(scope="module")
def normalised():
    """A model with BatchNorm: its variables, four examples, and `apply` compiled for training and evaluation."""
    model = small("cifar_cnn")

    def train(variables, x, mask):
        return model.apply(variables, x, train=True, key=jax.random.key(1), mask=mask)

    def evaluate(variables, x):
        return model.apply(variables, x, train=False)

    return start(model), examples("cifar_cnn", batch=4)[0], jax.jit(train), jax.jit(evaluate)


def test_padded_examples_stay_out_of_batch_statistics(normalised):
    variables, x, train, _ = normalised
    mask = jnp.array([True, True, False, False])
    outputs, stats = train(variables, x, mask)
    other, other_stats = train(variables, x.at[2:].set(1e3), mask)
    _, alone = train(variables, x[:2], None)
    np.testing.assert_array_equal(outputs[:2], other[:2])
    jax.tree.map(np.testing.assert_array_equal, stats, other_stats)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), stats, alone)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (stats, variables.stats)), strict=True))


def test_a_batch_of_padding_changes_no_statistics_and_makes_no_nan(normalised):
    variables, x, train, _ = normalised
    outputs, stats = train(variables, x, jnp.zeros(4, bool))
    assert jnp.isfinite(outputs).all()
    jax.tree.map(np.testing.assert_array_equal, stats, variables.stats)


def test_evaluation_uses_running_statistics_and_keeps_them(normalised):
    variables, x, _, evaluate = normalised
    together, stats = evaluate(variables, x)
    other, _ = evaluate(variables, x.at[1:].set(0))
    np.testing.assert_allclose(together[0], other[0], rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, stats, variables.stats)


def test_what_a_convolutional_model_says_of_its_parameters():
    model = build("cifar_cnn", (32, 32, 3), 10)
    assert model.kinds["BatchNorm_0"] == {"scale": "norm", "bias": "norm"}
    assert model.kinds["Conv_0"] == {"kernel": "kernel", "bias": "bias"}
    assert [model.uses[f"Conv_{i}"]["kernel"] for i in range(6)] == [1024, 1024, 256, 256, 64, 64]
    assert model.uses["Dense_0"] == {"kernel": 1, "bias": 0}
    assert model.uses["BatchNorm_0"] == {"scale": 0, "bias": 0}
    without = [name for name, layer in model.input_grad.items() if not all(layer.values())]
    assert without == ["Conv_0"]


def test_what_the_gru_says_of_its_parameters():
    model = small("gru")
    assert model.kinds["embedding"] == "embedding"
    assert model.uses["embedding"] == 0
    assert {model.uses[name]["kernel"] for name in ("input", "recurrent", "Dense_0")} == {4}
    assert model.input_grad["embedding"] is False
    assert model.input_grad["input"]["kernel"] is True


@pytest.mark.parametrize("name", ["lenet5", "resnet", "gru"])
def test_ops_see_every_kernel_by_its_path(name):
    """By the path of its leaf, so that an algorithm's own ops find the layer that they change."""
    model = small(name)
    x, _ = examples(name)
    variables = shapes(model)
    seen = {}

    def watch(operation):
        def call(name, x, kernel, *geometry):
            seen[name] = kernel.shape
            return operation(name, x, kernel, *geometry)

        return call

    watched = Ops(watch(DEFAULT.dense), watch(DEFAULT.conv))
    jax.eval_shape(lambda v: model.apply(v, x, train=False, ops=watched), variables)
    kernels = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables.params)
        if path[-1].key == "kernel"
    }
    assert seen == kernels


def test_gru_equals_a_loop():
    """The formulas of the docstring, one step after another."""
    with jax.enable_x64(True):
        model = small("gru", dtype=jnp.float64)
        x, _ = examples("gru")
        p = jax.tree.map(np.asarray, start(model).params)

        def sigmoid(v):
            return 1 / (1 + np.exp(-v))

        h = np.zeros((3, 5))
        for t in range(4):
            a = np.split(p["embedding"][x[:, t]] @ p["input"]["kernel"] + p["input"]["bias"], 3, axis=1)
            b = np.split(h @ p["recurrent"]["kernel"] + p["recurrent"]["bias"], 3, axis=1)
            z = sigmoid(a[1] + b[1])
            h = (1 - z) * np.tanh(a[2] + sigmoid(a[0] + b[0]) * b[2]) + z * h
        outputs, _ = model.apply(Variables(p), x, train=False)
        np.testing.assert_allclose(
            outputs[:, -1], h @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], rtol=1e-12
        )


def test_gru_gradient_through_time_against_finite_differences():
    with jax.enable_x64(True):
        model = small("gru", dtype=jnp.float64)
        x, y = examples("gru")
        variables = start(model)

        def loss(params):
            return jnp.mean(model.loss(model.apply(Variables(params), x, train=True)[0], y))

        check_grads(loss, (variables.params,), order=1, modes=["rev"])


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options", "message"),
    [
        ("resnet19", (32, 32, 3), 10, {}, "did you mean 'resnet18'"),
        ("mlp", (8, 8), 10, {"hiden": (4,)}, "did you mean 'hidden'"),
        ("lenet5", (8, 8, 1), 10, {}, "at least 12x12 pixels"),
        ("vgg11", (28, 28, 1), 10, {}, "at least 32x32 pixels"),
        ("resnet18", (784,), 10, {}, r"\(height, width, channels\).*\(784,\)"),
        ("resnet8", (32, 32, 3), 10, {"width": 12}, "width = 12 of resnet8 .* allowed: multiples of 8"),
        ("resnet18", (32, 32, 3), 10, {"norm": "layer"}, "unknown norm of model resnet18 'layer'"),
        ("logistic", (5,), 3, {}, "takes 2 classes, not 3"),
        ("gru", (5, 5), 86, {}, r"\(time steps,\)"),
        ("mlp", (5,), 10, {"dtype": jnp.float64}, "64-bit mode"),
        ("mlp", (5,), 0, {}, "classes"),
    ],
)
def test_bad_requests_name_the_value_and_what_is_allowed(name, shape, classes, options, message):
    with pytest.raises(UsageError, match=message):
        build(name, shape, classes, **options)


@pytest.mark.parametrize(
    ("hidden", "size"), [(7, 4 * 7 + 7 + 7 * 3 + 3), ((5, 2), 25 + 12 + 9), ([5, 2], 25 + 12 + 9)]
)
def test_a_list_option_takes_a_single_number_too(hidden, size):
    built = build("mlp", (4,), 3, hidden=hidden)
    assert trees.size(jax.eval_shape(built.init, jax.random.key(0)).params) == size


def test_an_option_of_another_type_is_refused():
    with pytest.raises(UsageError, match="option hidden of model mlp = 'wide'"):
        build("mlp", (4,), 3, hidden="wide")


@pytest.mark.parametrize("unbiased", [False, True])
def test_running_variances_of_batch_norm(unbiased):
    """Of four examples one is padding: n = 3 x 8 x 8 behind the first convolution."""
    model = small("resnet", norm="batch", unbiased=unbiased)
    x, mask = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 1)), jnp.float32), jnp.arange(4) < 3
    variables = start(model)
    _, stats = model.apply(variables, x, train=True, mask=mask)
    kernel = variables.params["Conv_0"]["kernel"]
    y = jax.lax.conv_general_dilated(
        x[:3], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    of_batch = np.var(np.asarray(y, np.float64), axis=(0, 1, 2), ddof=int(unbiased))
    np.testing.assert_allclose(stats["BatchNorm_0"]["var"], 0.9 + 0.1 * of_batch, rtol=1e-5)
