"""Runs that differ in numbers alone, as one program: the same as each by itself."""

import functools
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from fedjax_sparse.config import registry
from fedjax_sparse.devices import platforms
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.driver import simulate
from fedjax_sparse.simulation.together import compile_together
from fedjax_sparse.types import Algorithm
from tests import toy

STRENGTHS = (0.05, 1.0)


@pytest.fixture(autouse=True, scope="module")
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def wanted(float64) -> list[float]:
    """The last test loss of each run by itself."""
    setting = toy.setting()
    found = [alone("feddyn", "strength", setting, value) for value in STRENGTHS]
    assert abs(found[0] - found[1]) > 1e-3  # the number matters
    return found


def made(name: str, setting, numbers) -> Algorithm:
    """The algorithm with other numbers than its usual ones, which may be traced."""
    hyper = registry.entry(name).hyperparameters()
    for option, value in numbers.items():
        object.__setattr__(hyper, option, value)
    return registry.load(registry.entry(name))(setting.federation, hyper)


def together(name: str, option: str, setting) -> list[float]:
    """The last test loss of each run."""
    runs, numbers = len(STRENGTHS), {option: np.array(STRENGTHS)}
    algorithm, program = compile_together(functools.partial(made, name, setting), setting, numbers, runs)
    every = driver.every(toy.ROUNDS)
    progress = [*driver.run(algorithm, setting, [0] * runs, evaluate_at=every, program=program)][-1]
    return [row["global_test_loss"] for row in progress.rows if row]


def alone(name: str, option: str, setting, value: float) -> float:
    algorithm = made(name, setting, {option: value})
    return simulate(algorithm, setting, eval_every=toy.ROUNDS).rows[0][-1]["global_test_loss"]


@pytest.mark.parametrize(
    "platform",
    [platforms.CPU, platforms.accelerator("gpu")._replace(shares_main_memory=True)],
    ids=["one after another", "side by side"],
)
def test_each_is_as_it_is_alone(platform, wanted):
    with platforms.assume(platform):
        found = together("feddyn", "strength", toy.setting())
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_number_that_decides_what_is_computed_is_refused():
    with pytest.raises((TypeError, IndexError)):
        together("salientgrads", "sparsity", toy.setting())


def test_an_algorithm_that_prepares_begins_with_its_own_numbers():
    """A preparation, a server's model and states of clients all find the numbers."""
    setting = toy.setting()

    def make(numbers) -> Algorithm:
        usual = made("salientgrads", setting, {})
        scale = numbers["scale"]

        def prepare(state, cohort, key):
            assert usual.prepare is not None
            new, metrics = usual.prepare(state, cohort, key)
            return new, metrics._replace(log={**metrics.log, "scale": scale})

        return usual._replace(prepare=prepare)

    _, program = compile_together(make, setting, {"scale": np.array([2.0, 3.0])}, 2)
    state, metrics = program.start(setting.population, np.zeros(2, np.int32))
    assert metrics.log["scale"].tolist() == [2, 3]
    assert state.server.numbers["scale"].tolist() == [2, 3]
