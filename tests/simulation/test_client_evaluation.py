"""Models of single clients, tested one by one: the same in chunks, over devices and from the host's memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.data import population as populations
from fedjax_sparse.simulation import driver, evaluation, programs
from fedjax_sparse.simulation.client_evaluation import make_tune
from tests import toy

N = len(toy.SIZES)
OWN = np.asarray([[i, (i + 3) % 10, -1 if i % 2 else 7] for i in range(N)], np.int32)
CUTS = {
    "one by one": {"chunk": 1},
    "two devices, chunks of two": {"chunk": 2, "devices": 2},
    "host": {"chunk": 1, "state_store": "host"},
}


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def assessed(name, cut, rounds=2, tuned=False, **hyper):
    """The assessment after a run of two seeds, with the clients' states and the setting."""
    setting = toy.setting(rounds=rounds, client_lr=0.3, **CUTS[cut])
    setting = setting._replace(test=setting.test._replace(own=OWN), tuned_accuracy=tuned)
    algorithm = toy.algorithm(name, setting, **hyper)
    program = programs.compile_program(algorithm, setting, 2)
    seeds = np.asarray([0, 1], np.int32)
    *_, progress = driver.run(algorithm, setting, [0, 1], evaluate_at=lambda t: t == rounds, program=program)
    state = progress.state
    found = program.evaluate(state, setting.population, setting.test, rounds, seeds)
    found, state = jax.device_get((found, state))
    return found, state, [dict(row or {}) for row in progress.rows], setting, algorithm, program


@pytest.mark.parametrize("cut", CUTS)
def test_each_client_is_tested_with_its_own_model(cut):
    found, state, rows, setting, algorithm, program = assessed("ditto", cut)
    evaluate = jax.jit(evaluation.make_evaluate(setting.model, setting.preprocess))
    for k in range(2):
        server, stored = jax.tree.map(lambda leaf, k=k: jnp.asarray(leaf[k]), tuple(state))
        for i in range(N):
            client = jax.tree.map(lambda leaf, i=i: leaf[0], program.store.gather(stored, jnp.asarray([i])))
            _, answers = evaluate(algorithm.model(server, client), setting.test)
            expected = evaluation.on_own(answers, OWN)[i]
            np.testing.assert_allclose(found.clients.accuracy[k, i], expected, rtol=1e-12)
        scores, _ = evaluate(server.variables, setting.test)
        assert rows[k]["global_test_accuracy"] == pytest.approx(float(scores.accuracy))
        assert rows[k]["client_test_accuracy"] == pytest.approx(found.clients.accuracy[k].mean())
        assert "server_test_accuracy" not in rows[k]
    assert found.clients.accuracy.shape == (2, N)
    assert len(set(found.clients.accuracy[0])) > 1


@pytest.mark.parametrize("cut", ["one by one", "host"])
def test_without_a_server_the_test_set_is_dealt_to_the_clients(cut):
    """Where all have one model, that is the model's own score."""
    setting = toy.setting(**CUTS[cut])
    algorithm = toy.algorithm("dispfl", setting, sparsity=0.0)
    program = programs.compile_program(algorithm, setting)
    seeds = np.asarray([3], np.int32)
    state, _ = program.begin(setting.population, seeds)
    found = program.evaluate(state, setting.population, setting.test, 0, seeds)
    key, _ = jax.random.split(jax.random.fold_in(jax.random.key(3), programs.INIT))
    scores, _ = evaluation.make_evaluate(setting.model, setting.preprocess)(
        setting.model.init(key), setting.test
    )
    assert found.clients is not None
    assert found.deployed is found.server is None
    toy.leaves_close(jax.tree.map(lambda leaf: leaf[0], found.clients.dealt), scores)
    assert found.clients.accuracy is None


def test_one_model_is_tested_by_clients_as_if_each_had_it_and_after_tuning():
    found, _, rows, *_ = assessed("fedavg", "one by one", tuned=True)
    np.testing.assert_allclose(found.clients.accuracy, found.deployed.own)
    np.testing.assert_array_equal(found.clients.nonzero[:, 0], found.deployed.nonzero)
    assert (found.clients.tuned != found.clients.accuracy).any()
    assert rows[0]["tuned_test_accuracy"] == pytest.approx(found.clients.tuned[0].mean())


def test_tuning_is_a_round_of_local_training_within_the_support():
    setting = toy.setting(cohort_size=N)
    federation = setting.federation
    algorithm = toy.algorithm("sub-fedavg", setting)
    variables = setting.model.init(jax.random.key(0))
    kernel = variables.params["Dense_0"]["kernel"].at[0].set(0.0)
    variables.params["Dense_0"]["kernel"] = kernel
    tune = make_tune(algorithm, federation)

    def work(shared, state, client, key):
        return (), state, tune(shared, client, jnp.int32(1), key).params

    population = jax.tree.map(jnp.asarray, setting.population)
    cohort = populations.gather(population, np.arange(N), np.ones(N, bool))
    _, _, tuned = federation.over_clients(work, variables, (), cohort, jax.random.key(1))
    found = np.asarray(tuned["Dense_0"]["kernel"])
    assert not found[:, 0].any()
    assert (found[:, 1:] != np.asarray(kernel)[1:]).any(axis=(1, 2)).all()
