"""One writer a run folder: locks that die with their process, folders that are made by one alone or not at all."""

import contextlib
import itertools
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedjax_sparse.errors import UsageError
from fedjax_sparse.records import claims

HOLD = """
import sys, pathlib
from fedjax_sparse.records import claims
with claims.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_writes_until_that_one_is_dead(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refusal = rf"{re.escape(str(tmp_path))} is in use by process {holder.pid} on"
        with pytest.raises(UsageError, match=refusal), claims.held(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with claims.held(tmp_path) as folder:
        assert folder == tmp_path


def test_a_folder_in_which_nothing_was_written_is_gone_again(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with claims.new([tmp_path / "a" / "b"]) as made, claims.new([tmp_path / "there"]) as there:
        assert made == tmp_path / "a" / "b"
        assert made.is_dir()
        assert there == tmp_path / "there"
    assert [entry.name for entry in tmp_path.rglob("*")] == ["there"]


def test_whatever_was_written_stays(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), claims.new([tmp_path / "runs" / "a"]) as out:
        (out / "metrics.jsonl").touch()
        raise KeyboardInterrupt
    assert (tmp_path / "runs" / "a" / "metrics.jsonl").exists()


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"), claims.new([tmp_path]):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("below", ["file", "file/run", "file/a/b"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    names = (tmp_path / below / str(n) for n in itertools.count())
    with pytest.raises(UsageError, match="cannot write run folder"), claims.new(names):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_runs_that_start_together_have_folders_of_their_own(tmp_path: Path) -> None:
    together, made = threading.Barrier(8), []

    def start() -> None:
        together.wait()
        with claims.new(tmp_path / "runs" / str(n) for n in itertools.count()) as out:
            made.append(out)
            together.wait()
            (out / "config.toml").touch()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(tmp_path / "runs" / str(n) for n in range(8))


def test_a_folder_that_nobody_named_is_numbered_where_its_second_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = itertools.islice(claims.automatic("a.module:factory-digits"), 2)
    assert first.parent == Path("runs")
    assert re.fullmatch(r"a\.module\.factory-digits-\d{8}-\d{6}", first.name)
    assert second.name == f"{first.name}-2"
    first.mkdir(parents=True)
    (first / "manifest.json").touch()
    with claims.new([first, second]) as taken:
        assert taken == second
