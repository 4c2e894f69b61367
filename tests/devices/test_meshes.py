"""A cohort shared by several devices: the same numbers, states sharded by client, honest refusals."""

import functools
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.devices import meshes
from fedjax_sparse.records import checkpoints
from fedjax_sparse.simulation import driver
from tests import QUICK_COMPILATION, toy


def final(name: str, count: int, seeds=(0,), resume: bool = False):
    """The state after the last round, without the rows that fill the store up, and the last rows."""
    setting = toy.setting(devices=count, chunk=1, cohort_size=6)
    algorithm = toy.algorithm(name, setting)
    run = functools.partial(driver.run, algorithm, setting, seeds, evaluate_at=driver.every(2))
    start = None
    if resume:
        first = next(progress for progress in run() if progress.round)
        start = driver.Resume(first.round, jax.device_get(first.state), first.ledgers)
    *_, last = run(resume=start)
    state = jax.device_get(last.state)
    rows = [row and {key: row[key] for key in row if key != "wall_seconds"} for row in last.rows]
    return state.server, jax.tree.map(lambda leaf: leaf[:, : len(toy.SIZES)], state.clients), rows


@pytest.mark.parametrize("count", [2, 4, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "seeds"), [("fedsparsify-global", (0,)), ("flare", (0, 1))])
def test_devices_change_only_rounding(count, name, seeds):
    if count > jax.device_count():
        in_a_process_of_its_own(
            count, f"{__name__}.test_devices_change_only_rounding({count}, {name!r}, {seeds})"
        )
        return
    with jax.enable_x64(True):
        toy.leaves_close(final(name, count, seeds), final(name, 1, seeds))


def in_a_process_of_its_own(count: int, call: str) -> None:
    flags = f"--xla_force_host_platform_device_count={count} {QUICK_COMPILATION}"
    program = f"import {__name__}; {call}"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "XLA_FLAGS": flags}, check=True)


def test_each_device_keeps_the_states_of_some_clients():
    setting = toy.setting(np.float32, devices=4)
    algorithm = toy.algorithm("flare", setting)
    *_, last = driver.run(algorithm, setting, [0], evaluate_at=lambda t: False)
    for leaf in jax.tree.leaves(last.state.clients):
        assert [shard.data.shape[1] for shard in leaf.addressable_shards] == [2] * 4  # 7 clients and a filler


def test_a_run_on_devices_goes_on_bit_for_bit_from_its_state():
    with jax.enable_x64(True):
        jax.tree.map(np.testing.assert_array_equal, final("flare", 2), final("flare", 2, resume=True))


def test_more_devices_than_there_are_are_refused(tmp_path, capsys):
    assert main(["run", "fedavg", "--devices", "5", "--out", str(tmp_path / "run")]) == 2
    assert "--devices = 5 is more than there are: 4 (cpu)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not say")
def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6})
    assert meshes.cores() == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not say")
@pytest.mark.skipif(meshes.cores() < 2, reason="needs two cores")
def test_by_default_cores_become_devices_and_do_so_again_on_resume_of_fewer_cores(tmp_path):
    out = tmp_path / "run"
    flags = ["--rounds", "2", "--cohort-size", "3", "--checkpoint-every", "1"]
    said = in_a_process_without_devices("run", "fedavg", *flags, "--out", str(out), cores=2)
    assert json.loads((out / "manifest.json").read_text())["device_count"] == 2
    assert "devices = 2" in (out / "config.toml").read_text()
    # Two clients on one device and one on the other: a third of the time is needed by nobody.
    assert "padding: " in said
    assert "padding: 0 of" not in said
    shutil.rmtree(out / "checkpoints" / "2")
    assert "after round 1" in in_a_process_without_devices("resume", str(out), cores=1)
    assert checkpoints.steps(out / "checkpoints") == [1, 2]


@pytest.mark.parametrize(("made", "cohort", "expected"), [(None, 9, 1), (1, 9, 1), (4, 9, 4), (4, 3, 3)])
def test_automatic_devices_of_a_cpu_are_those_made_of_cores_that_the_cohort_occupies(
    monkeypatch, made, cohort, expected
):
    """JAX has started: whether that was with devices for cores decides, and they stay as many."""
    monkeypatch.setattr(meshes, "_told", lambda: made)
    assert meshes.choose("auto", cohort) == expected
    assert meshes.choose(1, cohort) == 1


@pytest.mark.parametrize(
    ("flags", "said", "expected"),
    [
        ("--xla_a=1", None, 3),
        ("--xla_a=1", 2, None),
        ("--xla_force_host_platform_device_count=2", None, None),
    ],
)
def test_cores_become_devices_that_wait_for_each_other_unless_somebody_has_said_how_many(
    monkeypatch, flags, said, expected
):
    told = {}
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(meshes, "_told", lambda: said)
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    meshes.make_devices_of_cores(3)
    assert told.get("jax_num_cpu_devices") == expected
    assert os.environ["XLA_FLAGS"] == (flags if expected is None else f"{meshes.PATIENCE} {flags}")


def in_a_process_without_devices(*command: str, cores: int | None = None) -> str:
    """What a command line says that has to make its devices itself, of so many cores where that is stated."""
    here = sorted(os.sched_getaffinity(0))[:cores]
    program = (
        f"import os; os.sched_setaffinity(0, {here})\n"
        f"from fedjax_sparse.cli.commands import main\nraise SystemExit(main({[*command]}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr
