"""Whole sweeps through the command line: what wins, stopped, called again, refused."""

import functools
import os
import shutil
import signal
import tomllib
from pathlib import Path

import numpy as np
import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config.sweep import Sweep
from fedjax_sparse.data import subsets
from fedjax_sparse.experiments import building, sweep
from fedjax_sparse.experiments.progress import Display
from fedjax_sparse.experiments.together import batches
from fedjax_sparse.records import trials
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.driver import simulate

PROBLEM = "--clients 4 --cohort-size 2 --local-epochs 1 --model softmax --rounds 2 --eval-every 1"
FLAGS = [*PROBLEM.split(), "--seeds", "2"]
NAMES = ("fedavg", "fedprox")
GRID = "client-lr=1e-6,0.1"
SHARED = {"clients": 4, "cohort_size": 2, "local_epochs": 1, "model": "softmax", "rounds": 2}
split = functools.partial(subsets.with_validation, share=0.1, seed=0)


def swept(out: Path, *flags: str) -> int:
    return main(["sweep", *NAMES, "--grid", GRID, *FLAGS, *flags, "--out", str(out)])


def texts(out: Path) -> list[str]:
    return [(out / name).read_text() for name in ("winners.toml", "table.md", "table.csv", "trials.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "whole"
    assert swept(out) == 0
    return out


def test_what_learns_wins_over_what_does_not(whole):
    won = tomllib.loads((whole / "winners.toml").read_text())["algorithm"]
    assert {name: won[name]["client_lr"] for name in NAMES} == dict.fromkeys(NAMES, 0.1)
    assert len(trials.read(whole)) == 2 * 2 * 2  # algorithms, settings, seeds


def test_a_setting_scores_as_a_run_on_the_same_split(whole):
    (trial, *_) = Sweep(("fedavg",), grid={"client_lr": (0.1,)}, shared=SHARED | {"eval_every": 1}).trials()[
        "fedavg"
    ]
    made = building.build(trial.config, split=split)
    wanted = [row["global_test_loss"] for row in simulate(made.algorithm, made.setting).rows[0][1:]]
    (found,) = [
        each.loss
        for each in trials.read(whole)
        if (each.algorithm, each.seed, dict(each.values)) == ("fedavg", 0, {"client_lr": 0.1})
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_numbers_are_one_program_and_shapes_several():
    own = Sweep(("fedavg",), grid={"client_lr": (0.1, 0.2), "batch_size": (8, 16)}, shared=SHARED)
    found = [len(batch.trials) for batch in batches(own.trials()["fedavg"], split)]
    assert found == [2, 2]


def test_a_number_that_decides_what_is_computed_has_programs_of_its_own():
    grid = {"client_lr": (0.1, 0.2), "clip_norm": (1.0,), "weight_decay": (0.0, 0.1)}
    own = Sweep(("fedavg",), grid=grid, shared=SHARED).trials()["fedavg"]
    groups = [[trial.values["weight_decay"] for trial in batch.trials] for batch in batches(own, split)]
    assert groups in ([[0.0, 0.0], [0.1, 0.1]], [[0.0, 0.1, 0.0, 0.1]])


def test_called_again_runs_nothing_and_gives_the_same_files(whole, tmp_path, monkeypatch):
    out = Path(shutil.copytree(whole, tmp_path / "again"))
    monkeypatch.setattr(sweep, "batches", lambda *_: 1 / 0)
    assert main(["sweep", "--config", str(whole / "sweep.toml"), "--out", str(out)]) == 0
    assert texts(out) == texts(whole)


def only_first(whole: Path, out: Path) -> Path:
    """A sweep whose second algorithm has not been tried yet."""
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("winners.toml", "table.*"))
    trials.write(out, [each for each in trials.read(out) if each.algorithm == "fedavg"])
    return out


def test_stopped_halfway_and_called_again_gives_the_same_files(whole, tmp_path, monkeypatch):
    out, before = only_first(whole, tmp_path / "stopped"), len(trials.read(whole)) // 2

    def stopped(display, t, rows):
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "update", stopped)
        patch.setattr(programs, "MAX_BLOCK", 1)
        assert swept(out) == 130
    assert len(trials.read(out)) == before
    assert not (out / "winners.toml").exists()
    assert swept(out) == 0
    assert texts(out) == texts(whole)


def test_an_algorithm_that_fails_is_named_and_the_others_go_on(whole, tmp_path, monkeypatch):
    out = only_first(whole, tmp_path / "failing")
    monkeypatch.setattr(sweep, "batches", lambda *_: {}["layer"])
    assert swept(out) == 1
    assert "| fedprox | 0 | none |  | KeyError: 'layer' |" in (out / "table.md").read_text()
    assert [*tomllib.loads((out / "winners.toml").read_text())["algorithm"]] == ["fedavg"]


def test_another_sweep_in_the_folder_is_refused(whole, capsys):
    before = texts(whole)
    assert swept(whole, "--validation", "0.2") == 2
    assert "holds another sweep" in capsys.readouterr().err
    assert texts(whole) == before


def test_a_sweep_has_one_writer(whole, capsys):
    with sweep.claims.held(whole):
        assert swept(whole) == 2
    assert "is in use by process" in capsys.readouterr().err


def test_what_would_not_fit_the_disk_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "BYTES_OF_A_TEST", 10**15)
    assert swept(tmp_path / "out") == 2
    assert "records need up to" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_resume_says_how_a_sweep_goes_on(whole, capsys):
    assert main(["resume", str(whole)]) == 2
    assert f"go on with fedjax-sparse sweep --config {whole / 'sweep.toml'}" in capsys.readouterr().err
