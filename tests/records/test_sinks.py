"""Sinks never disagree with the rows of the run folder."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from fedjax_sparse.config.sections import Records
from fedjax_sparse.errors import UsageError
from fedjax_sparse.records import run_folder, sinks
from fedjax_sparse.records.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    table = {"dataset": "digits", "seed": 0, "seeds": 1, "algorithm": {"name": "fedavg"}}
    (run,) = run_folder.create(tmp_path / "run", table, [0], ["run"], device_kind="cpu", device_count=1)
    return run


def read_csv(folder: RunFolder) -> list[dict[str, str]]:
    with (folder.path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_file_says_what_the_rows_say(folder: RunFolder) -> None:
    with sinks.attached([folder], Records(log_csv=True)):
        folder.append({"round": 5, "train_loss": 0.1, "note": 'a, "b"'})
        folder.append({"round": 10, "train_loss": float("nan")})
        assert read_csv(folder) == [
            {"round": "5", "train_loss": "0.1", "note": 'a, "b"'},
            {"round": "10", "train_loss": "", "note": ""},
        ]
        folder.append({"round": 15, "server_density": 0.5})
    assert [row["server_density"] for row in read_csv(folder)] == ["", "", "0.5"]
    folder.append({"round": 20})
    assert len(read_csv(folder)) == 3  # nobody follows the rows any more


def test_the_csv_file_of_a_resumed_run_starts_from_its_rows(folder: RunFolder) -> None:
    with sinks.attached([folder], Records(log_csv=True)):
        for t in (5, 10, 15):
            folder.append({"round": t})
    _, (resumed,) = run_folder.open_run(folder.path)
    resumed.truncate(5)
    with sinks.attached([resumed], Records(log_csv=True)):
        assert [row["round"] for row in read_csv(resumed)] == ["5"]
        resumed.append({"round": 10})
    assert [row["round"] for row in read_csv(resumed)] == ["5", "10"]


class FakeWriter:
    """Stands in for tensorboardX, which is optional."""

    made: list[FakeWriter]

    def __init__(self, logdir: str, purge_step: int, flush_secs: int) -> None:
        self.logdir, self.purge_step = logdir, purge_step
        self.scalars: list[tuple[str, float, int]] = []
        FakeWriter.made.append(self)

    def __enter__(self) -> FakeWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert type(value) is float  # it cannot take the integers beyond 64 bits
        self.scalars.append((name, value, step))


def test_tensorboard_gets_every_number(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeWriter.made = []
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=FakeWriter))
    folder.append({"round": 5, "train_loss": 1.0})
    with sinks.attached([folder], Records(tensorboard=True)):
        folder.append({"round": 10, "train_loss": 0.5, "flops": 10**30, "note": "x", "loss": float("nan")})
    (writer,) = FakeWriter.made
    assert Path(writer.logdir).parent == folder.path
    assert writer.purge_step == 0  # what the run wrote before it was resumed
    assert writer.scalars == [("train_loss", 1.0, 5), ("train_loss", 0.5, 10), ("flops", 1e30, 10)]
    assert writer.closed


def test_tensorboard_writes_real_events(folder: RunFolder) -> None:
    pytest.importorskip("tensorboardX", reason="needs the extra fedjax-sparse[tensorboard]")
    code = """
import sys, pathlib
from fedjax_sparse.config.sections import Records
from fedjax_sparse.records import run_folder, sinks
folder = run_folder.RunFolder(pathlib.Path(sys.argv[1]))
with sinks.attached([folder], Records(tensorboard=True)):
    folder.append({"round": 5, "train_loss": 0.5, "flops": 10**30})
"""
    subprocess.run([sys.executable, "-c", code, str(folder.path)], check=True)
    (events,) = (folder.path / "tensorboard").iterdir()
    assert b"train_loss" in events.read_bytes()
    assert b"flops" in events.read_bytes()


@pytest.mark.parametrize("option", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_missing_is_named(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, sinks.PACKAGES[option][0], None)
    asked: Any = {option: True}
    with pytest.raises(UsageError, match=rf"pip install 'fedjax-sparse\[{option}\]'$"):
        sinks.check(Records(**asked))
    sinks.check(Records())


FOLLOWED = """
import sys, pathlib
from fedjax_sparse.config.sections import Records
from fedjax_sparse.records import run_folder, sinks
folder = run_folder.RunFolder(pathlib.Path(sys.argv[1]))
other = run_folder.RunFolder(pathlib.Path(sys.argv[1]).with_name("other"))
with sinks.attached([folder, other], Records(**{sys.argv[2]: True})):
    folder.append({"round": 10, "train_loss": 0.5, "flops": 10**30, "note": "x", "test_loss": float("nan")})
    other.append({"round": 10, "train_loss": 0.75})
"""


def follow(folder: RunFolder, option: str, **variables: str) -> None:
    """Two runs at once, as of two seeds, of which the first has a row already; in a process of its own, offline."""
    shutil.copytree(folder.path, folder.path.with_name("other"), dirs_exist_ok=True)
    folder.append({"round": 5, "train_loss": 1.0})
    environment = os.environ | variables
    command = [sys.executable, "-c", FOLLOWED, str(folder.path), option]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_weights_and_biases_keeps_every_number_offline(folder: RunFolder) -> None:
    pytest.importorskip("wandb", reason="needs the extra fedjax-sparse[wandb]")
    follow(folder, "wandb", WANDB_MODE="offline")
    (records,) = folder.path.glob("wandb/offline-run-*/run-*.wandb")
    content = records.read_bytes()
    for word in (b"train_loss", b"flops", b"digits", b"fedavg"):
        assert word in content
    assert b"test_loss" not in content
    assert [*folder.path.with_name("other").glob("wandb/offline-run-*/run-*.wandb")]


@pytest.mark.filterwarnings("default")  # what MLflow warns of within itself is not ours
def test_mlflow_keeps_every_number_and_replaces_an_earlier_start(folder: RunFolder) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs the extra fedjax-sparse[mlflow]")
    uri = f"sqlite:///{folder.path.parent}/mlflow.db"
    for _ in range(2):
        follow(folder, "mlflow", MLFLOW_TRACKING_URI=uri)
        folder.truncate(4)
    client = mlflow.MlflowClient(uri)
    place = client.get_experiment_by_name(sinks.PROJECT).experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([place])}
    assert {*runs} == {str(folder.path), str(folder.path.with_name("other"))}
    run = runs[str(folder.path)]
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in history] == [(5, 1.0), (10, 0.5)]
    assert run.data.metrics == {"train_loss": 0.5, "flops": 1e30}
    assert run.data.params["algorithm"] == "fedavg"
    assert run.info.status == "FINISHED"
