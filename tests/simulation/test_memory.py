"""What a run needs is said before it starts; what does not fit does not start; running out is one line."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.clients import state_store
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.devices import platforms
from fedjax_sparse.errors import RunError
from fedjax_sparse.experiments.building import build, prepare
from fedjax_sparse.records import checkpoints
from fedjax_sparse.simulation import driver, evaluation, memory, programs, setting
from tests import toy

SMALL = {"model": "softmax", "rounds": 2, "cohort_size": 8, "local_epochs": 1}


def needed(prepare=None, **options) -> int:
    """The estimate for FLARE on the toy problem."""
    problem = toy.setting(jnp.float32, **({"chunk": 1} | options))
    algorithm = toy.algorithm("flare", problem)._replace(prepare=prepare)
    program, footprint = programs.compile_ahead(algorithm, problem)
    return memory.estimate(footprint, problem, program.store).needed


BATCHING = platforms.CPU._replace(side_by_side=True)
STATES = 7 * 4 * 43  # bytes: seven clients keep a float32 for each of 43 parameters


def test_states_count_where_they_lie():
    """Beside a device with memory of its own the host's are not counted; from there, a cohort of two visits it."""
    on_device, on_host = (needed(state_store=place, cohort_size=2) for place in ("device", "host"))
    with platforms.assume(platforms.CPU._replace(shares_main_memory=False)):
        visiting = needed(state_store="host", cohort_size=2)
    assert on_host == visiting + STATES
    assert on_device - visiting > 0.5 * STATES * 5 / 7


def test_a_preparation_brings_all_states_to_the_device():
    """Seven clients, of whom one trains at a time, first read all of their data."""

    def read(state, cohort, key):
        seen = sum(jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(cohort))
        return state._replace(client=jax.tree.map(lambda leaf: leaf + seen, state.client)), None

    options = {"state_store": "host", "cohort_size": 1}
    assert needed(read, **options) >= needed(**options) + 0.5 * STATES * 6 / 7


def test_each_seed_has_its_states_on_the_host():
    problem = toy.setting(jnp.float32, state_store="host")
    program, footprint = programs.compile_ahead(toy.algorithm("flare", problem), problem)
    one, three = (memory.estimate(footprint, problem, program.store, seeds).needed for seeds in (1, 3))
    assert three - one == 2 * STATES


def test_copies_of_the_data_share_main_memory():
    assert needed(devices=2) > needed()  # two copies of the data, in one main memory


def test_testing_counts_where_it_needs_more_than_training():
    """Local steps are over three examples each, tests over five hundred at once."""
    problem = toy.setting(jnp.float32, chunk=1)
    x, y = np.zeros((500, 4)), np.zeros(500, np.int32)
    larger = problem._replace(test=evaluation.batched(x, y, setting.EVAL_BATCH))
    small, large = (
        programs.compile_ahead(toy.algorithm("fedavg", each), each)[1] for each in (problem, larger)
    )
    assert large.kept == small.kept
    assert large.temporary > small.temporary + 500 * 5 * 4  # at least the outputs of the hidden layer


@pytest.mark.parametrize(
    ("name", "place"),
    [("flare", "device"), ("flare", "host"), ("salientgrads", "device"), ("salientgrads", "host")],
)
def test_what_was_compiled_ahead_is_what_runs(monkeypatch, name, place):
    """A run is given its compiled rounds and evaluation and compiles no others; the numbers are those of any run."""
    problem = toy.setting(jnp.float32, state_store=place)
    algorithm = toy.algorithm(name, problem)
    program, _ = programs.compile_ahead(algorithm, problem)
    compiled = [
        isinstance(each, jax.stages.Compiled) for each in (program.dispatch, program.assess, program.start)
    ]
    assert compiled == [True, True, name == "salientgrads"]  # whose clients prepare together
    *_, plain = driver.run(algorithm, problem, [0], evaluate_at=lambda t: False)
    monkeypatch.setattr(programs, "compile_program", None)
    *_, ahead = driver.run(algorithm, problem, [0], evaluate_at=lambda t: False, program=program)
    jax.tree.map(np.testing.assert_array_equal, plain.state, ahead.state)
    names = ("global_test_loss", "global_test_accuracy")
    one, other = ({name: row[name] for name in names} for row in (*plain.rows, *ahead.rows) if row)
    assert one == other


def ready(**options):
    config = configure("fedavg", **SMALL, **options)
    return prepare(build(config), config.machine.chunk)


def test_the_automatic_chunk_is_halved_until_the_run_fits(monkeypatch):
    """As on an accelerator, the whole cohort is tried first; memory ends a little above what two clients need."""
    large = {"clients": 8, "batch_size": 128}  # so that training needs more than testing
    with platforms.assume(BATCHING):
        two = ready(chunk=2, **large).memory.needed
        monkeypatch.setattr(state_store, "available_memory", lambda devices: two + 1)
        fitted = ready(**large)
    assert (fitted.experiment.config.machine.chunk, fitted.memory.needed) == (2, two)


def test_several_devices_are_told_of_and_fewer_are_allowed():
    estimate = memory.Estimate(needed=2, available=1, chunk=1, devices=3)
    assert estimate.describe().endswith("training 1 clients at once on each of 3 devices")
    with pytest.raises(memory.TooLargeError, match="allowed: fewer --devices, fewer --seeds"):
        estimate.check()


def test_a_run_that_cannot_fit_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(state_store, "available_memory", lambda devices: 10_000)
    flags = ["--cohort-size", "4", "--chunk", "4", "--model", "softmax", "--out", str(tmp_path / "run")]
    assert main(["run", "fedavg", *flags]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "to train 4 clients at once, but there are 10.0 kB; allowed: --chunk 2, fewer --seeds" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("room", [0.5, 1.01])
def test_states_on_the_host_that_cannot_fit_are_refused(tmp_path, monkeypatch, capsys, room):
    """Before anything is compiled where the states alone are too large, else by the estimate."""
    one = 4 * 650  # bytes: the softmax model of the digits
    monkeypatch.setattr(state_store, "main_memory", lambda: int(room * 20 * one))
    flags = ["--clients", "20", "--model", "softmax", "--state-store", "host", "--out", str(tmp_path / "run")]
    assert main(["run", "flare", *flags]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert ("flare keeps 2.6e-06 GB for each of 20 clients" if room < 1 else "the run needs about ") in line
    assert "allowed: " in line
    assert "--clients" in line
    assert not (tmp_path / "run").exists()


def test_running_out_of_memory_is_one_line(tmp_path, monkeypatch, capsys):
    """The allocator itself refuses 64 TB in the middle of the run."""
    monkeypatch.setattr(driver, "draw_cohorts", lambda *_: jnp.zeros(1 << 44).block_until_ready())
    flags = ["--model", "softmax", "--chunk", "3", "--out", str(tmp_path / "run")]
    assert main(["run", "fedavg", *flags]) == 1
    *_, estimate, error = capsys.readouterr().err.splitlines()
    assert estimate.startswith("memory: about ")
    assert "error: out of memory; the estimate was " in error
    assert "with 3 clients at once; try --chunk 2" in error


def exhausted(*_, **__):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 68719476736 bytes.")


def test_running_out_keeps_the_records_and_the_last_checkpoint(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    flags = ["--model", "softmax", "--rounds", "6", "--checkpoint-every", "2", "--eval-every", "2"]
    draw = driver.draw_cohorts
    monkeypatch.setattr(driver, "draw_cohorts", lambda *a: exhausted() if a[2] > 2 else draw(*a))
    assert main(["run", "fedavg", *flags, "--out", str(out)]) == 1
    assert "error: out of memory; the estimate was " in capsys.readouterr().err.splitlines()[-1]
    assert [row["round"] for row in recorded(out)] == [0, 2]
    assert checkpoints.steps(out / "checkpoints") == [2]
    monkeypatch.undo()
    assert main(["resume", str(out)]) == 0
    assert [row["round"] for row in recorded(out)] == [0, 2, 4, 6]


def recorded(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_compiling_that_runs_out_halves_an_automatic_chunk(monkeypatch):
    """Some compilers refuse what does not fit, before anything can be analysed."""
    compile_ahead = programs.compile_ahead
    monkeypatch.setattr(
        programs, "compile_ahead", lambda a, s, k: exhausted() if s.chunk > 2 else compile_ahead(a, s, k)
    )
    with platforms.assume(BATCHING):
        assert ready().experiment.config.machine.chunk == 2


def test_compiling_that_runs_out_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(programs, "compile_ahead", exhausted)
    flags = ["--model", "softmax", "--chunk", "3", "--out", str(tmp_path / "run")]
    assert main(["run", "fedavg", *flags]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "error: out of memory while compiling with 3 clients at once; try --chunk 2" in line
    assert not (tmp_path / "run").exists()


def test_other_errors_pass():
    with pytest.raises(RunError, match="out of memory"), memory.watched(1):
        raise MemoryError
    with pytest.raises(jax.errors.JaxRuntimeError), memory.watched(1):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
