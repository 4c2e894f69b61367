"""What a run needs is said before it starts; what does not fit does not start; running out is one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import devices, memory, setting, simulation
from fedjax_sparse.cli import main
from fedjax_sparse.clients import state_store
from fedjax_sparse.config import configure
from fedjax_sparse.errors import RunError
from fedjax_sparse.experiment import build, prepare
from tests import toy

SMALL = {"model": "softmax", "rounds": 2, "cohort_size": 8, "local_epochs": 1}


def needed(**options) -> int:
    """The estimate for FLARE on the toy problem."""
    problem = toy.setting(jnp.float32, **({"chunk": 1} | options))
    _, analysis = simulation.compile_ahead(toy.algorithm("flare", problem), problem)
    return memory.estimate(analysis, problem).needed


def test_states_count_where_they_lie():
    """Seven clients keep four bytes for each of 43 parameters; from the host, a cohort of two visits the device."""
    on_device, on_host = (needed(state_store=place, cohort_size=2) for place in ("device", "host"))
    assert on_device - on_host > 0.5 * (7 - 2) * 4 * 43
    assert needed(mesh=devices.make_mesh(2)) > needed()  # two copies of the data, in one main memory


def test_what_was_compiled_ahead_is_what_runs(monkeypatch):
    """A run is given its compiled rounds and compiles no others; the numbers are those of any run."""
    problem = toy.setting(jnp.float32)
    algorithm = toy.algorithm("flare", problem)
    program, _ = simulation.compile_ahead(algorithm, problem)
    *_, plain = simulation.run(algorithm, problem, [0], evaluate_at=lambda t: False)
    monkeypatch.setattr(simulation, "compile_program", None)
    *_, ahead = simulation.run(algorithm, problem, [0], evaluate_at=lambda t: False, program=program)
    jax.tree.map(np.testing.assert_array_equal, plain.state, ahead.state)


def ready(**options):
    config = configure("fedavg", **SMALL, **options)
    return prepare(config, build(config))


def test_the_automatic_chunk_is_halved_until_the_run_fits(monkeypatch):
    """As on an accelerator, the whole cohort is tried first; memory ends a little above what two clients need."""
    two = ready(chunk=2).memory.needed
    monkeypatch.setattr(setting, "automatic_chunk", lambda capacity, devices: capacity)
    monkeypatch.setattr(state_store, "available_memory", lambda devices: two + 1)
    fitted = ready()
    assert (fitted.experiment.config.chunk, fitted.memory.needed) == (2, two)


def test_a_run_that_cannot_fit_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(state_store, "available_memory", lambda devices: 10_000)
    flags = ["--cohort-size", "4", "--chunk", "4", "--model", "softmax", "--out", str(tmp_path / "run")]
    assert main(["run", "fedavg", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "to train 4 clients at once, but there are 10.0 kB; allowed: --chunk 2, --state-store host" in line
    assert not (tmp_path / "run").exists()


def test_running_out_of_memory_is_one_line(tmp_path, monkeypatch, capsys):
    """The allocator itself refuses 64 TB in the middle of the run."""
    monkeypatch.setattr(simulation, "draw_cohorts", lambda *_: jnp.zeros(1 << 44).block_until_ready())
    flags = ["--model", "softmax", "--chunk", "3", "--out", str(tmp_path / "run")]
    assert main(["run", "fedavg", *flags]) == 1
    estimate, error = capsys.readouterr().err.splitlines()
    assert estimate.startswith("memory: about ")
    assert "error: out of memory; the estimate was " in error
    assert "with 3 clients at once; try --chunk 2" in error


def test_other_errors_pass(monkeypatch):
    estimate = memory.Estimate(1, 2, 1)
    with pytest.raises(RunError, match="out of memory"), memory.watched(estimate):
        raise MemoryError
    with pytest.raises(jax.errors.JaxRuntimeError), memory.watched(estimate):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
