"""Whole comparisons through the command line: stopped, called again, failing, refused."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.experiments import building, compare, loading, resuming, runs, several
from fedjax_sparse.experiments.progress import Display
from fedjax_sparse.records import run_folder

SMALL = "--clients 4 --cohort-size 2 --local-epochs 1 --model softmax --rounds 2 --eval-every 1 --checkpoint-every 1"
FLAGS = [*SMALL.split(), "--seeds", "2", "--sparsities", "0.9", "--reference", "fedavg"]
CASES = ("fedavg", "fedsparsify-global-0.9")


def compared(out: Path, *flags: str) -> int:
    return main(["compare", "fedavg", "fedsparsify-global", *FLAGS, *flags, "--out", str(out)])


def tables(out: Path) -> list[str]:
    return [(out / name).read_text() for name in ("table.md", "table.csv")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("comparison") / "whole"
    assert compared(out) == 0
    return out


def copy(whole: Path, to: Path) -> Path:
    return Path(shutil.copytree(whole, to))


def never(*_args, **_more):
    raise AssertionError("nothing is left to be run")


def test_a_comparison_leaves_runs_a_table_and_figures(whole):
    assert [line.split("|")[1].strip() for line in tables(whole)[0].splitlines()[2:4]] == [
        "fedavg",
        "fedsparsify-global",
    ]
    assert (whole / "figures/accuracy_by_uplink.png").is_file()
    dense, sparse = (loading.load_run(whole / case) for case in CASES)
    assert (dense.config.partition, dense.config.cohorts) == (sparse.config.partition, sparse.config.cohorts)
    assert dense.seeds == sparse.seeds == [0, 1]
    first = [run.table["global_test_accuracy"][run.table["round"] == 0] for run in (dense, sparse)]
    assert (first[0] == first[1]).all()  # the same initial weights


def test_called_again_runs_nothing_and_gives_the_same_table(whole, tmp_path, monkeypatch, capsys):
    out = copy(whole, tmp_path / "again")
    monkeypatch.setattr(runs, "run", never)
    monkeypatch.setattr(resuming, "resume", never)
    assert (
        main(["compare", "--config", str(whole / "comparison.toml"), "--out", str(out), "--no-figures"]) == 0
    )
    assert tables(out) == tables(whole)
    assert capsys.readouterr().out == tables(whole)[0]


def test_stopped_halfway_and_called_again_gives_the_identical_table(whole, tmp_path, monkeypatch):
    out, update = tmp_path / "stopped", Display.update

    def stopped_in_the_second_run(display, t, rows):
        if display._name.startswith("run 2/2") and t == 2:
            raise KeyboardInterrupt
        update(display, t, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "update", stopped_in_the_second_run)
        assert compared(out, "--no-figures") == 130
    assert [run_folder.has_ended(out / case) for case in CASES] == [True, False]
    assert not (out / "table.md").exists()
    assert compared(out, "--no-figures") == 0
    assert tables(out) == tables(whole)


@pytest.mark.slow
def test_killed_halfway_and_called_again_gives_the_identical_table(whole, tmp_path):
    out = tmp_path / "killed"
    flags = [*FLAGS, "--no-figures", "--out", str(out)]
    command = [sys.executable, "-m", "fedjax_sparse", "compare", "fedavg", "fedsparsify-global", *flags]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        while child.poll() is None and not (out / CASES[1]).is_dir():
            time.sleep(0.05)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert [several.has_ended(out / case) for case in CASES] == [True, False]
    assert compared(out, "--no-figures") == 0
    assert tables(out) == tables(whole)


def test_a_run_that_fails_is_named_and_the_others_go_on(whole, tmp_path, monkeypatch, capsys):
    out = copy(whole, tmp_path / "failing")
    shutil.rmtree(out / "fedavg")
    monkeypatch.setattr(runs, "run", lambda *_args, **_more: {}["layer"])
    assert compared(out, "--no-figures") == 1
    dense, sparse = (line.split("|") for line in tables(out)[0].splitlines()[2:4])
    assert "KeyError: 'layer'" in dense[-2]
    assert sparse[3].strip() == "2"


def test_where_every_run_fails_that_is_the_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runs, "run", lambda *_args, **_more: {}["layer"])
    assert compared(tmp_path / "out") == 1
    assert "no run has recorded anything; fedavg: KeyError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--rounds", "3"), "holds another comparison, with other options"),
        (("--sparsities", "0.8"), "whose runs differ: fedsparsify-global-0.9, fedsparsify-global-0.8"),
    ],
)
def test_another_comparison_in_the_folder_is_refused(whole, flags, words, capsys):
    before = sorted(whole.rglob("*"))
    assert compared(whole, *flags) == 2
    assert words in capsys.readouterr().err
    assert sorted(whole.rglob("*")) == before


def test_reference_and_target_change_the_table_alone(whole, tmp_path, monkeypatch):
    out = copy(whole, tmp_path / "target")
    monkeypatch.setattr(runs, "run", never)
    assert compared(out, "--target", "0.01", "--no-figures") == 0
    assert "bytes to 1 %" in tables(out)[0]


def test_a_comparison_has_one_writer(whole, monkeypatch, capsys):
    with compare.claims.held(whole):
        assert compared(whole) == 2
    assert "is in use by process" in capsys.readouterr().err


def test_resume_says_how_a_comparison_goes_on(whole, capsys):
    assert main(["resume", str(whole)]) == 2
    assert f"go on with fedjax-sparse compare --config {whole / 'comparison.toml'}" in capsys.readouterr().err


def test_what_would_not_fit_the_disk_is_refused_with_its_size(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "_state_bytes", lambda case: 10**15)
    assert compared(tmp_path / "out") == 2
    assert "checkpoints of 2 runs need up to 16000.0 TB" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_where_nothing_can_be_built_nothing_is_left_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(building, "_load", lambda data: {}["file"])
    assert compared(tmp_path / "out") == 1
    assert "KeyError: 'file'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    assert compared(tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
