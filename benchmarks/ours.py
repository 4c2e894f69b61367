"""A workload as rounds of `fedjax_sparse`: a run's compiled program, without evaluation, records or checkpoints."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.workloads import LEARNING_RATE, Workload
from fedjax_sparse import build_model, make_algorithm, make_setting
from fedjax_sparse.config.run_config import make_sections
from fedjax_sparse.data import population
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.devices import meshes
from fedjax_sparse.models.model import Model
from fedjax_sparse.simulation import driver, programs
from fedjax_sparse.simulation.programs import Program
from fedjax_sparse.simulation.setting import Setting

ROUNDS = 1_000_000  # more than are ever timed; learning rates are constant


def setting_of(
    workload: Workload,
    *,
    clients: int | None = None,
    model: Model | None = None,
    **options: Any,
) -> Setting:
    """The workload with other `options` of its run.

    Args:
        workload: What to run.
        clients: N, in place of the workload's own.
        model: In place of the workload's own, such as one in another precision.
        **options: Of any section of a run; those of the workload are filled in, and one local epoch.
    """
    x, y = workload.arrays(clients)
    pool_x, pool_y = x.reshape(-1, *workload.shape), y.reshape(-1)
    dataset = Dataset("synthetic", pool_x, pool_y, pool_x[:1], pool_y[:1], "classification", workload.classes)
    model = model or build_model(workload.model, workload.shape, workload.classes)
    parts = np.arange(len(pool_y)).reshape(len(x), -1)
    shared: dict[str, Any] = {
        "rounds": ROUNDS,
        "cohort_size": workload.cohort,
        "local_epochs": 1,
        "batch_size": workload.batch,
        "client_lr": LEARNING_RATE,
        "devices": 1,
    }
    return make_setting(
        dataset,
        model,
        population.build(pool_x, pool_y, list(parts)),
        **make_sections(shared | options),
    )


def make_rounds(
    setting: Setting, algorithm: str = "fedavg", seeds: int = 1, **hyper: Any
) -> Callable[[int], None]:
    """The rounds of an algorithm, as `rounds_of` gives them; compiled at the first call."""
    made = make_algorithm(algorithm, setting.federation, **hyper)
    return rounds_of(setting, programs.compile_program(made, setting, seeds), seeds)


def rounds_of(setting: Setting, program: Program, seeds: int = 1) -> Callable[[int], None]:
    """Starts, and returns what runs the next n rounds and waits for them; at most `simulation.MAX_BLOCK` at once."""
    data = jax.device_put(setting.population, meshes.everywhere(setting.mesh))
    numbers = np.arange(seeds, dtype=np.int32)
    state, _ = program.begin(data, numbers)
    done = 0

    def run(rounds: int) -> None:
        nonlocal state, done
        cohorts = driver.draw_cohorts(setting, range(seeds), done + 1, done + rounds)
        first = np.int32(done + 1), np.int32(rounds)
        state, metrics = program.block(state, data, *cohorts, *first, numbers)
        jax.block_until_ready((state, metrics))
        done += rounds

    return run
