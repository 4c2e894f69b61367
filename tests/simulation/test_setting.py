"""What all algorithms share: learning rates by round, amounts of local work, errors at the door."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.config.sections import Training
from fedjax_sparse.errors import UsageError
from fedjax_sparse.simulation.setting import make_loss, make_plan, rate_by_round
from fedjax_sparse.types import Batch
from tests import toy


def test_rates_by_round():
    rate = rate_by_round(0.1, "decay:0.998", 500)
    for t, expected in ((1, 0.1), (101, 0.081857), (251, 0.060623), (500, 0.036825)):
        np.testing.assert_allclose(rate(jnp.int32(t)), expected, rtol=2e-5)


def test_steps_ask_for_enough_passes_of_the_smallest_client():
    plan = make_plan(Training(batch_size=4, local_steps=9), np.asarray([100, 7]))
    assert plan.passes == 5  # nine steps at two a pass
    assert plan.total_steps(jnp.int32(7)) == 9


def test_a_chunk_larger_than_the_cohort_is_refused():
    with pytest.raises(UsageError, match="--chunk = 5 is out of range; allowed: 1 to 4"):
        toy.setting(jnp.float32, chunk=5)


def test_a_cohort_larger_than_the_population_is_refused():
    with pytest.raises(UsageError, match=r"cohort_size = 8 is out of range; allowed: \[1, 7\]"):
        toy.setting(jnp.float32, cohort_size=8)
    assert toy.setting(jnp.float32, cohort_size="all").federation.cohort_size == 7


@pytest.mark.parametrize(("weighting", "weight"), [("examples", toy.SIZES), ("uniform", (1,) * 7)])
def test_clients_weigh_what_their_cohorts_say(weighting, weight):
    assert toy.setting(jnp.float32, weighting=weighting).population.weight.tolist() == [*weight]


@pytest.mark.parametrize(("count", "chunk"), [(1, 4), (2, 2), (3, 2), (4, 1)])
def test_a_chunk_is_at_most_what_a_device_has_of_the_cohort(count, chunk):
    assert toy.setting(jnp.float32, chunk=4, devices=count).chunk == chunk


@pytest.mark.parametrize("train", [True, False])
def test_a_loss_puts_the_model_in_training_mode_or_not(train):
    setting, modes = toy.setting(jnp.float32), []

    def apply(variables, x, *, train, **how):
        modes.append(train)
        return setting.model.apply(variables, x, train=train, **how)

    loss = make_loss(setting.model._replace(apply=apply), setting.preprocess, train=train)
    data = toy.dataset()
    x, y = jnp.asarray(data.x_train[:4]), jnp.asarray(data.y_train[:4])
    batch = Batch(x, y, jnp.ones(4, bool), jax.random.key(0), jnp.int32(0))
    variables = setting.model.init(jax.random.key(1))
    assert loss(variables, batch)[0] == setting.federation.loss(variables, batch)[0]  # it has no dropout
    assert modes == [train]


def test_statistics_are_counted_with_the_message():
    setting = toy.setting(jnp.float32)
    assert setting.federation.stats_size == 0
    sizes = sum(leaf.size for leaf in jax.tree.leaves(setting.federation.params))
    assert sizes == 4 * 5 + 5 + 5 * 3 + 3
