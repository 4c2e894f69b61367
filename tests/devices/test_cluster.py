"""Two processes share a run: the numbers of one, one writer, and an end in one line when the other is lost."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.records import checkpoints
from tests import QUICK_COMPILATION

SECONDS = 240  # no wait in these tests is longer
FLAGS = (
    *("--model", "softmax", "--clients", "6", "--cohort-size", "3"),
    *("--local-epochs", "1", "--eval-every", "2"),
)
FLARE = ("run", "flare", *FLAGS, "--checkpoint-every", "3", "--rounds", "6")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def processes(
    commands: Sequence[Sequence[str]], timeout: int = 60, slurm: bool = False
) -> Iterator[list[subprocess.Popen]]:
    """Command lines that run as the processes of one cluster; whatever happens, none of them is left.

    With `slurm` they find each other as in a job step of SLURM: by what it puts into the environment.
    """
    port = str(free_port())
    environment = {
        **os.environ,
        "XLA_FLAGS": QUICK_COMPILATION,
        "FEDJAX_SPARSE_COORDINATOR_TIMEOUT": str(timeout),
    }
    started = []
    try:
        for i, command in enumerate(commands):
            if slurm:
                cluster = ("--coordinator", "auto")
                environment |= {"JAX_COORDINATOR_PORT": port, **step_of_slurm(i)}
            else:
                cluster = (
                    "--coordinator",
                    f"127.0.0.1:{port}",
                    "--num-processes",
                    "2",
                    "--process-id",
                    str(i),
                )
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "fedjax_sparse", *command, *cluster],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def step_of_slurm(process_id: int) -> dict[str, str]:
    """The environment of one of two tasks on one node."""
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(process_id),
        "SLURM_LOCALID": str(process_id),
    }


def together(*command: str, slurm: bool = False) -> list[str]:
    """What the two processes, both of which have to succeed, print for people."""
    with processes([command, command], slurm=slurm) as pair:
        said = [process.communicate(timeout=SECONDS)[1] for process in pair]
        assert [process.returncode for process in pair] == [0, 0], said
    return said


def rows(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "wall_seconds"} for line in lines]


def close(folder: Path, other: Path) -> None:
    for mine, theirs in zip(rows(folder), rows(other), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert value == (theirs[name] if value is None else pytest.approx(theirs[name], rel=1e-9)), name


def test_two_processes_give_the_numbers_of_one_and_can_be_resumed(tmp_path):
    """Clients keep an error in FLARE, so their states are divided between the processes, and gathered to be saved."""
    double = ("--dtype", "float64")
    assert main([*FLARE, *double, "--devices", "2", "--out", str(tmp_path / "one")]) == 0
    first, second = together(*FLARE, *double, "--out", str(tmp_path / "two"))
    assert "round 6/6" in first
    assert second == ""
    close(tmp_path / "two", tmp_path / "one")
    assert "devices = 2" in (tmp_path / "two" / "config.toml").read_text()
    checkpoint = tmp_path / "two" / "checkpoints"
    assert checkpoints.steps(checkpoint) == [3, 6]
    (checkpoint / "6").rename(tmp_path / "gone")
    assert "after round 3" in together("resume", str(tmp_path / "two"))[0]
    close(tmp_path / "two", tmp_path / "one")
    assert checkpoints.steps(checkpoint) == [3, 6]


@pytest.mark.slow
def test_slurm_says_who_takes_part(tmp_path):
    """The command lines of all tasks are the same; going on needs as many devices as the run had."""
    out = tmp_path / "run"
    command = ("run", "fedavg", *FLAGS, "--rounds", "4", "--checkpoint-every", "2", "--out", str(out))
    first, second = together(*command, slurm=True)
    assert "round 4/4" in first
    assert second == ""
    assert "devices = 2" in (out / "config.toml").read_text()
    whole = rows(out)
    (out / "checkpoints" / "4").rename(tmp_path / "gone")
    assert "after round 2" in together("resume", str(out), slurm=True)[0]
    assert rows(out) == whole


@pytest.mark.slow
def test_auto_without_a_cluster_is_refused(tmp_path):
    command = [sys.executable, "-m", "fedjax_sparse", "run", "fedavg", "--coordinator", "auto"]
    done = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert "--coordinator = auto: JAX finds no processes to join" in line
    assert "else HOST:PORT with --num-processes and --process-id" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("lost", "number"),
    [
        pytest.param(0, signal.SIGKILL, marks=pytest.mark.slow),
        (1, signal.SIGKILL),
        pytest.param(1, signal.SIGSTOP, marks=pytest.mark.slow),
    ],
)
def test_a_lost_process_ends_the_other_within_seconds(tmp_path, lost, number):
    out = tmp_path / "run"
    command = ("run", "fedavg", *FLAGS, "--rounds", "100000", "--checkpoint-every", "2", "--out", str(out))
    with processes([command, command]) as pair:
        deadline = time.monotonic() + SECONDS
        while not checkpoints.steps(out / "checkpoints"):
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in pair)
            time.sleep(0.05)
        pair[lost].send_signal(number)
        other = pair[1 - lost]
        _, said = other.communicate(timeout=SECONDS)
        assert other.returncode == 1
        (error,) = [line for line in said.splitlines() if "error" in line]
        assert error.startswith("fedjax-sparse: error: another process of the run was lost")
    assert checkpoints.common_step([out / "checkpoints"]) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("process_id", [0, 1])
def test_nobody_answers(tmp_path, process_id):
    """Alone, the first process waits for the second, and the second for the coordinator."""
    command = ("run", "fedavg", *FLAGS, "--out", str(tmp_path / "run"))
    with processes([command, command], timeout=15) as pair:
        pair[1 - process_id].kill()
        _, said = pair[process_id].communicate(timeout=SECONDS)
        assert pair[process_id].returncode == 1
        *going_on, error = said.splitlines()
        assert error.startswith("fedjax-sparse: error: no answer from the coordinator 127.0.0.1:")
        assert len(going_on) == (2 if process_id == 0 else 0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--num-processes 2", "belong to --coordinator"),
        ("--coordinator here:1", "needs --num-processes and --process-id"),
        ("--coordinator here --num-processes 2 --process-id 0", "allowed: HOST:PORT, or auto"),
        ("--coordinator here:1 --num-processes 2 --process-id 2", "allowed: 0 to 1"),
        ("--coordinator auto --process-id 2", "not to auto"),
        (
            "--coordinator here:0 --num-processes 2 --process-id 0",
            "here:0: port 0 is out of range; allowed: 1 to 65535",
        ),
        (
            "--coordinator here:65536 --num-processes 2 --process-id 1",
            "here:65536: port 65536 is out of range",
        ),
    ],
)
def test_flags_that_do_not_belong_together_are_refused(tmp_path, flags, words, capsys):
    assert main(["run", "fedavg", *flags.split(), "--out", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err
    assert main(["resume", str(tmp_path), *flags.split()]) == 2
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(tmp_path, capsys):
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        flags = ["--coordinator", address, "--num-processes", "2", "--process-id", "0"]
        assert main(["run", "fedavg", *flags, "--out", str(tmp_path / "run")]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert f"--coordinator = {address}: process 0 cannot listen on that port (Address already in use)" in line


@pytest.mark.parametrize("text", ["abc", "0", "1.5", "-1", ""])
def test_a_time_to_wait_that_is_no_number_is_refused(tmp_path, monkeypatch, capsys, text):
    monkeypatch.setenv("FEDJAX_SPARSE_COORDINATOR_TIMEOUT", text)
    flags = ["--coordinator", "127.0.0.1:1", "--num-processes", "2", "--process-id", "1"]
    assert main(["run", "fedavg", *flags, "--out", str(tmp_path / "run")]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert f"FEDJAX_SPARSE_COORDINATOR_TIMEOUT = {text!r} is not valid; allowed: seconds, at least 1" in line
