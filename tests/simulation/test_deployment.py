"""Models that come of a run predict what the run measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.models import model as models
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.deployment import TrainedModel
from tests import toy


@pytest.mark.parametrize(("name", "options"), [("sparsyfed", {}), ("flare", {"state_store": "host"})])
def test_each_seeds_model_is_the_one_that_was_tested(name, options):
    with jax.enable_x64(True):
        setting = toy.setting(rounds=2, **options)
        result = driver.simulate(toy.algorithm(name, setting), setting, seed=3, seeds=2)
        real = np.asarray(setting.test.mask)
        x, y = np.asarray(setting.test.x)[real], np.asarray(setting.test.y)[real]
        for rows, model in zip(result.rows, result.models, strict=True):
            assert np.mean(model.predict(x) == y) == pytest.approx(
                rows[-1]["global_test_accuracy"], abs=1e-12
            )
        first, second = (jax.tree.leaves(model.variables.params)[0] for model in result.models)
        assert np.any(np.asarray(first) != np.asarray(second))


def test_regression_predicts_numbers_in_any_number_of_batches():
    linear = models.build("linear", (3,), 2)
    model = TrainedModel(linear, lambda x, key, train: x, linear.init(jax.random.key(1)))
    x = np.random.default_rng(0).normal(size=(1001, 3)).astype(np.float32)
    expected, _ = linear.apply(model.variables, jnp.asarray(x), train=False)
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-5, atol=1e-6)
