"""Sinks never disagree with the rows of the run folder."""

from __future__ import annotations

import csv
import subprocess
import sys
import types
from pathlib import Path

import pytest

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
    folder.sinks.append(sinks.csv_sink(folder))
    folder.append({"round": 5, "train_loss": 0.1, "note": 'a, "b"'})
    folder.append({"round": 10, "train_loss": float("nan")})
    assert read_csv(folder) == [
        {"round": "5", "train_loss": "0.1", "note": 'a, "b"'},
        {"round": "10", "train_loss": "", "note": ""},
    ]
    folder.append({"round": 15, "server_density": 0.5})
    assert [row["server_density"] for row in read_csv(folder)] == ["", "", "0.5"]


def test_the_csv_file_of_a_resumed_run_starts_from_its_rows(folder: RunFolder) -> None:
    folder.sinks.append(sinks.csv_sink(folder))
    for t in (5, 10, 15):
        folder.append({"round": t})
    _, (resumed,) = run_folder.open_run(folder.path)
    resumed.truncate(5)
    resumed.sinks.append(sinks.csv_sink(resumed))
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

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert type(value) is float  # it cannot take the integers beyond 64 bits
        self.scalars.append((name, value, step))


def test_tensorboard_gets_every_number(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeWriter.made = []
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=FakeWriter))
    folder.append({"round": 5, "train_loss": 1.0})
    folder.sinks.append(sinks.tensorboard_sink(folder))
    folder.append({"round": 10, "train_loss": 0.5, "flops": 10**30, "note": "x", "grad_norm": float("nan")})
    (writer,) = FakeWriter.made
    assert Path(writer.logdir).parent == folder.path
    assert writer.purge_step == 0  # what the run wrote before it was resumed
    assert writer.scalars == [("train_loss", 1.0, 5), ("train_loss", 0.5, 10), ("flops", 1e30, 10)]


def test_tensorboard_writes_real_events(folder: RunFolder) -> None:
    pytest.importorskip("tensorboardX", reason="needs the extra fedjax-sparse[tensorboard]")
    code = """
import sys, pathlib
from fedjax_sparse.records import run_folder, sinks
folder = run_folder.RunFolder(pathlib.Path(sys.argv[1]))
folder.sinks.append(sinks.tensorboard_sink(folder))
folder.append({"round": 5, "train_loss": 0.5, "flops": 10**30})
"""
    subprocess.run([sys.executable, "-c", code, str(folder.path)], check=True)
    (events,) = (folder.path / "tensorboard").iterdir()
    assert b"train_loss" in events.read_bytes()
    assert b"flops" in events.read_bytes()


def test_tensorboard_that_is_missing_is_named(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UsageError, match=r"pip install 'fedjax-sparse\[tensorboard\]'$"):
        sinks.tensorboard_sink(folder)
