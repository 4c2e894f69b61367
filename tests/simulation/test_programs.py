"""The simulation against loops written out, and the identities that any correct simulator satisfies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.config.run_config import make_sections
from fedjax_sparse.config.sections import Cohorts, Training
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.devices import platforms
from fedjax_sparse.models import model as models
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.setting import Setting, make_setting
from tests import toy


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def least_squares(parts, **options) -> tuple[Setting, Dataset]:
    """Linear regression on 24 rows of 3 features, dealt as stated."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 3))
    y = x @ np.asarray([1.0, -2.0, 0.5]) + 0.3 + 0.1 * rng.normal(size=30)
    data = Dataset("toy", x[:24], y[:24], x[24:], y[24:], "regression", 1, None, (0.0,), (1.0,))
    model = models.build("linear", (3,), 1, dtype=jnp.float64)
    population = populations.build(data.x_train, data.y_train, parts)
    defaults = {"rounds": 5, "cohort_size": len(parts), "local_epochs": 1, "batch_size": 24, "client_lr": 0.1}
    return make_setting(data, model, population, **make_sections(defaults | options)), data


def final(setting: Setting, name: str = "fedavg", **hyper):
    """The server's state and the row after the last round."""
    algorithm = toy.algorithm(name, setting, **hyper)
    *_, last = driver.run(algorithm, setting, [0], evaluate_at=lambda t: False)
    assert last.rows[0] is not None
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), last.state.server), last.rows[0]


def parameters(server) -> np.ndarray:
    """Weights and bias of a linear model as one vector."""
    leaves = {leaf.size: leaf.ravel() for leaf in jax.tree.leaves(server.variables.params)}
    return np.concatenate([leaves[3], leaves[1]])


def test_one_client_with_full_batches_is_gradient_descent():
    setting, data = least_squares([np.arange(24)])
    rows = np.column_stack([data.x_train, np.ones(24)])
    w = np.zeros(4)
    for _ in range(5):
        w = w - 0.1 * 2 * rows.T @ (rows @ w - data.y_train) / 24
    server, row = final(setting)
    np.testing.assert_allclose(parameters(server), w, rtol=1e-12)
    residual = np.column_stack([data.x_test, np.ones(6)]) @ w - data.y_test
    np.testing.assert_allclose(row["global_test_loss"], np.mean(residual**2), rtol=1e-12)
    assert "global_test_accuracy" not in row


def test_one_full_batch_step_at_every_client_is_gradient_descent_on_all_data():
    """With weights by examples, the mean of the clients' gradients is the gradient of the mean."""
    together, _ = least_squares([np.arange(24)])
    apart, _ = least_squares([np.arange(4), np.arange(4, 14), np.arange(14, 24)])
    np.testing.assert_allclose(parameters(final(apart)[0]), parameters(final(together)[0]), rtol=1e-12)


def test_many_rounds_reach_the_least_squares_solution():
    setting, data = least_squares([np.arange(12), np.arange(12, 24)], rounds=400, client_lr=0.2)
    rows = np.column_stack([data.x_train, np.ones(24)])
    exact, *_ = np.linalg.lstsq(rows, data.y_train, rcond=None)
    np.testing.assert_allclose(parameters(final(setting)[0]), exact, atol=1e-10)


def test_states_of_everyone_in_order_need_not_be_looked_up():
    setting, _ = least_squares(np.split(np.arange(24), 4))
    looked_up = setting._replace(sampler=setting.sampler._replace(in_order=False))
    (server, row), (other, _) = (
        final(each, "error-correction", keep_percent=30) for each in (setting, looked_up)
    )
    assert setting.sampler.in_order
    assert row["memory_norm"] > 0
    toy.leaves_close(server, other)


@pytest.mark.usefixtures("loops_as_shipped")
def test_sparsity_zero_is_fedavg_bit_for_bit():
    setting = toy.setting()
    dense, _ = final(setting)
    for name in ("fedsparsify-global", "random-pruning"):
        sparse, _ = final(setting, name, sparsity=0.0)
        jax.tree.map(np.testing.assert_array_equal, sparse.variables, dense.variables)


def test_weighting_by_examples_and_uniformly_differ_where_sizes_do():
    data = toy.dataset()
    parts = np.split(np.arange(40), np.cumsum(toy.SIZES)[:-1])
    model = models.build("mlp", (4,), 3, dtype=jnp.float64, hidden=(5,))
    population = populations.build(data.x_train, data.y_train, parts)
    training = Training(rounds=1, local_epochs=1, batch_size=9)
    servers = []
    for weighting in ("examples", "uniform"):
        cohorts = Cohorts(cohort_size=7, weighting=weighting)
        setting = make_setting(data, model, population, cohorts=cohorts, training=training)
        servers.append(final(setting)[0])
    leaves = [jax.tree.leaves(server.variables.params) for server in servers]
    assert any(not np.allclose(a, b) for a, b in zip(*leaves, strict=True))


def test_cohorts_do_not_depend_on_the_algorithm_and_rows_count_who_took_part():
    setting = toy.setting(dropout=0.5)
    ids, present = driver.draw_cohorts(setting, [3], 1, toy.ROUNDS)
    for name in ("fedavg", "fedsparsify-global"):
        algorithm = toy.algorithm(name, setting)
        _, *rows = driver.simulate(algorithm, setting, seed=3).rows[0]
        assert [row["participants"] for row in rows] == present[0, : toy.ROUNDS].sum(axis=1).tolist()
    assert (ids[0, toy.ROUNDS :] == len(toy.SIZES)).all()


def test_blocks_end_where_they_must_and_the_length_changes_nothing():
    setting = toy.setting(rounds=23)
    algorithm = toy.algorithm("fedavg", setting)
    every = driver.every
    blocks = driver.run(algorithm, setting, [0], evaluate_at=every(7), stop_at=every(10))
    assert [progress.round for progress in blocks] == [0, 7, 10, 14, 20, 21, 23]
    *_, few = driver.run(algorithm, setting, [0], evaluate_at=lambda t: False)
    *_, many = driver.run(algorithm, setting, [0], evaluate_at=lambda t: True)
    jax.tree.map(np.testing.assert_array_equal, few.state, many.state)
    assert few.ledgers[0].totals == many.ledgers[0].totals


@pytest.mark.parametrize("name", ["fedavg", "salientgrads"])
def test_round_0_is_what_there_is_before_training(name):
    """The initial model, at no cost but that of a preparation; evaluating it changes nothing that comes later."""
    setting = toy.setting()
    algorithm = toy.algorithm(name, setting)
    rows = driver.simulate(algorithm, setting, eval_every=2).rows[0]
    assert [row["round"] for row in rows] == [0, 2, 4]
    first = rows[0]
    assert (first["train_loss"], first["participants"], first["uplink_density"]) == (None, 0, None)
    assert (first["flops"] == first["uplink_bytes"] == 0) == (name == "fedavg")
    assert first["density_prunable"] < 1 or name == "fedavg"
    *_, last = driver.run(algorithm, setting, [0], evaluate_at=lambda t: False)
    assert last.rows[0] is not None
    assert last.rows[0] | {"wall_seconds": 0} == rows[-1] | {"wall_seconds": 0}


def test_a_run_goes_on_bit_for_bit_from_its_state():
    setting = toy.setting()
    algorithm = toy.algorithm("fedsparsify-global", setting)
    every = driver.every(2)
    blocks = driver.run(algorithm, setting, [4], evaluate_at=every)
    stages = [(progress.round, jax.device_get(progress.state), progress.ledgers) for progress in blocks]
    again = driver.run(algorithm, setting, [4], evaluate_at=every, resume=driver.Resume(*stages[1]))
    *_, last = again
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(last.state), stages[-1][1])
    assert last.ledgers[0].totals == stages[-1][2][0].totals


def test_a_seed_alone_equals_it_after_another_and_beside_another():
    """A CPU runs several in the second way, accelerators in the third."""
    setting = toy.setting(rounds=2)
    algorithm = toy.algorithm("fedsparsify-global", setting)
    *_, alone = driver.run(algorithm, setting, [4], evaluate_at=driver.every(1))
    *_, in_turn = driver.run(algorithm, setting, [3, 4], evaluate_at=driver.every(1))
    toy.leaves_close(jax.tree.map(lambda leaf: leaf[1:], in_turn.state), alone.state)
    assert in_turn.ledgers[1].totals == alone.ledgers[0].totals
    with platforms.assume(platforms.accelerator("gpu")):
        *_, together = driver.run(algorithm, setting, [3, 4], evaluate_at=driver.every(1))
    toy.leaves_close(jax.device_get(in_turn.state), jax.device_get(together.state))
    assert in_turn.ledgers[1].totals == together.ledgers[1].totals


def test_bfloat16_and_float32_learn_too():
    with jax.enable_x64(False):
        for dtype in (jnp.bfloat16, jnp.float32):
            setting = toy.setting(dtype, rounds=15, client_lr=0.3)
            server, row = final(setting, "fedsparsify-global", sparsity=0.5)
            assert jax.tree.leaves(server.variables.params)[0].dtype == dtype
            assert row["global_test_accuracy"] >= 0.8
