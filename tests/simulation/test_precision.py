"""Lower precision: what stays in float32, what stays exact, and how far results may move."""

import json
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import trees
from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import registry
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.building import build
from fedjax_sparse.models import model as models
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.deployment import trained
from tests import toy
from tests.conftest import forget_programs

DIGITS = {"clients": 5, "cohort_size": 5, "rounds": 5, "eval_every": 5, "model": "mlp:hidden=32"}
QUICK = ("fedavg", "flare", "sparsyfed")  # the others are tested with the slow tests


@pytest.fixture(autouse=True)
def global_options() -> Iterator[None]:
    """A run sets JAX's options for its process."""
    yield
    jax.config.update("jax_default_matmul_precision", None)


def outcome(algorithm: str, **options) -> dict:
    """The metrics after the last round on the embedded digits."""
    experiment = build(configure(algorithm, **DIGITS, **options))
    return driver.simulate(experiment.algorithm, experiment.setting, eval_every=5).rows[0][-1]


@pytest.mark.parametrize("algorithm", ["fedavg", pytest.param("fedsparsify-global", marks=pytest.mark.slow)])
def test_digits_are_learnt_as_well(algorithm):
    """Stated tolerances: mixed precision to 1 point of accuracy and 2 % of loss, all in bfloat16 to 3 and 10."""
    exact = outcome(algorithm)
    assert exact["global_test_accuracy"] > 0.85
    for options, points, loss in (
        ({"compute_dtype": "bfloat16"}, 0.01, 0.02),
        ({"dtype": "bfloat16"}, 0.03, 0.1),
        ({"matmul_precision": "tensorfloat32"}, 0.01, 0.02),
    ):
        found = outcome(algorithm, **options)
        assert abs(found["global_test_accuracy"] - exact["global_test_accuracy"]) <= points
        assert abs(found["global_test_loss"] / exact["global_test_loss"] - 1) <= loss
        assert found["density"] == exact["density"]
        assert found["flops_dense"] == exact["flops_dense"]


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(registry.algorithms())
    ],
)
def test_every_algorithm_in_mixed_precision(name):
    """State stays in float32 and finite, and what is declared to be exactly sparse is."""
    setting = toy.setting(jnp.float32, compute_dtype=jnp.bfloat16, chunk=1)
    algorithm = toy.algorithm(name, setting)
    *_, last = driver.run(algorithm, setting, [0], evaluate_at=lambda t: False)
    floats = [leaf for leaf in jax.tree.leaves(last.state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}
    assert trees.all_finite(floats)
    (model,) = trained(algorithm, setting, last.state)
    deployed = model.variables.params
    for promise in algorithm.declared:
        if (promise.what, promise.how) == ("deployed", "exact"):
            assert promise.kept is not None
            prunable = zip(jax.tree.leaves(deployed), jax.tree.leaves(promise.prunable), strict=True)
            kept = sum(np.count_nonzero(leaf) for leaf, here in prunable if here)
            assert kept == promise.kept(toy.ROUNDS)
    forget_programs()


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [("cifar_cnn", (8, 8, 3), {}), ("gru", (6,), {"hidden": 20}), ("mlp", (5,), {})],
)
def test_only_the_layers_compute_in_bfloat16(name, shape, options):
    plain, mixed = (
        models.build(name, shape, 10, compute_dtype=dtype, **options) for dtype in (None, jnp.bfloat16)
    )
    variables = plain.init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, mixed.init(jax.random.key(0)), variables)
    x = jnp.ones((4, *shape), int) if name == "gru" else jax.random.normal(jax.random.key(1), (4, *shape))
    y = jnp.zeros((4, 6) if name == "gru" else (4,), int)

    def loss(params, apply):
        outputs, stats = apply(variables._replace(params=params), x, train=True, key=jax.random.key(2))
        return jnp.mean(plain.loss(outputs, y)), (outputs, stats)

    differentiate = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    (low, (outputs, stats)), slope = differentiate(variables.params, mixed.apply)
    (high, _), exact = differentiate(variables.params, plain.apply)
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((low, stats, slope))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(low, high, rtol=0.02)
    # Normalising over so few examples amplifies what was rounded.
    near = 0.3 if jax.tree.leaves(stats) else 0.05
    assert trees.norm(trees.sub(slope, exact)) < near * trees.norm(exact)


def test_precision_is_recorded_and_resumed(tmp_path):
    out = tmp_path / "run"
    words = "--clients 4 --cohort-size 2 --rounds 4 --checkpoint-every 2 --eval-every 2 --model softmax"
    words += " --compute-dtype bfloat16 --matmul-precision float32"
    assert main(["run", "fedavg", *words.split(), "--out", str(out)]) == 0
    whole = without_times(out)
    jax.config.update("jax_default_matmul_precision", None)
    (out / "checkpoints" / "4").rename(tmp_path / "gone")
    assert main(["resume", str(out)]) == 0
    assert jax.config.values["jax_default_matmul_precision"] == "float32"
    assert without_times(out) == whole
    recorded = (out / "config.toml").read_text()
    assert 'compute_dtype = "bfloat16"' in recorded
    assert 'matmul_precision = "float32"' in recorded


def without_times(out) -> list[dict]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key != "wall_seconds"} for row in rows]


def test_matmul_precision_reaches_products_and_convolutions():
    experiment = build(configure("fedavg", matmul_precision="float32"))
    x = jnp.ones((3, 3))
    assert "HIGHEST" in str(jax.make_jaxpr(lambda x: x @ x)(x))
    model = models.build("pfl_cnn", (8, 8, 3), 10)
    images = jnp.ones((2, 8, 8, 3))
    program = jax.make_jaxpr(
        jax.grad(lambda v: jnp.sum(model.apply(v, images, train=False)[0]), allow_int=True)
    )(model.init(jax.random.key(0)))
    assert "DEFAULT" not in str(program)
    assert "HIGHEST" in str(program)
    assert experiment.config.data.matmul_precision == "float32"
    build(configure("fedavg"))
    assert "HIGHEST" not in str(jax.make_jaxpr(lambda x: x @ x)(x))


def test_wider_computation_needs_wide_numbers():
    with pytest.raises(UsageError, match="dtype float64 needs JAX's 64-bit mode"):
        models.build("mlp", (4,), 3, compute_dtype=jnp.float64)
    with pytest.raises(UsageError, match="compute-dtype"):
        configure("fedavg", compute_dtype="float16")
