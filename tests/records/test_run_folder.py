"""The run folder: created whole or refused, rows that survive a kill."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.config import run_config
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.records import checkpoints, claims, run_folder
from fedjax_sparse.records.recorder import Recorder
from fedjax_sparse.records.run_folder import RunFolder

COMMAND = ["fedjax-sparse", "run", "fedavg"]


def create(out: Path, seeds: list[int], table: Mapping[str, Any] | None = None) -> list[RunFolder]:
    table = {
        "data": {"dataset": "digits"},
        "run": {"seed": seeds[0], "seeds": len(seeds)},
        "algorithm": {"name": "fedavg"},
        **(table or {}),
    }
    return run_folder.create(out, table, seeds, COMMAND, device_kind="cpu", device_count=4)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (run,) = create(tmp_path / "run", [0])
    return run


@pytest.mark.parametrize("seeds", [[0], [3, 4]])
def test_a_copy_to_read_holds_what_resuming_needs_and_refers_to_the_checkpoints(
    tmp_path: Path, seeds
) -> None:
    out, to = tmp_path / "run", tmp_path / "copy"
    to.mkdir()
    for folder in create(out, seeds):
        folder.append({"round": 1})
        (folder.path / "figures").mkdir()
        (folder.path / "metrics.csv").touch()
        (folder.checkpoints / "1").mkdir(parents=True)
    run_folder.copy_to_read(out, to)
    table, copies = run_folder.open_run(to)
    assert table == run_folder.open_run(out)[0]
    for folder in copies:
        assert folder.rows() == [{"round": 1}]
        assert folder.checkpoints.is_symlink()
        assert checkpoints.steps(folder.checkpoints) == [1]
        files = {"config.toml", "manifest.json", "metrics.jsonl", "checkpoints"}
        assert {entry.name for entry in folder.path.iterdir()} == files
    shutil.rmtree(to)
    assert (out if len(seeds) == 1 else out / "seed_3").joinpath("checkpoints", "1").is_dir()


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_records_do_not_import_jax() -> None:
    code = "import sys, fedjax_sparse.records; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_of_one_seed_is_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "runs" / "first"
    (run,) = create(out, [7])
    assert run.path == out
    assert {entry.name for entry in out.iterdir()} == {"config.toml", "manifest.json", "metrics.jsonl"}
    table, (opened,) = run_folder.open_run(out)
    assert table == {
        "data": {"dataset": "digits"},
        "run": {"seed": 7, "seeds": 1},
        "algorithm": {"name": "fedavg"},
    }
    assert opened.path == out
    assert opened.rows() == []


def test_a_run_of_several_seeds_is_as_many_complete_folders(tmp_path: Path) -> None:
    runs = create(tmp_path, [3, 4, 5])
    assert [run.path for run in runs] == [tmp_path / "seed_3", tmp_path / "seed_4", tmp_path / "seed_5"]
    table, opened = run_folder.open_run(tmp_path)
    assert table["run"] == {"seed": 3, "seeds": 3}
    assert [run.path for run in opened] == [run.path for run in runs]
    assert RunFolder(tmp_path).manifest()["seeds"] == [3, 4, 5]
    for seed, run in zip([3, 4, 5], runs, strict=True):
        table, (alone,) = run_folder.open_run(run.path)
        assert table["run"] == {"seed": seed, "seeds": 1}
        assert table["data"] == {"dataset": "digits"}
        assert alone.path == run.path
        assert alone.manifest()["seeds"] == [seed]


def test_the_resolved_configuration_comes_back(tmp_path: Path) -> None:
    wanted = run_config.configure("fedavg", rounds=3, client_lr=0.25, seeds=2)
    create(tmp_path, [0, 1], run_config.to_toml_dict(wanted))
    table, (first, second) = run_folder.open_run(tmp_path)
    assert run_config.from_toml_dict(table) == wanted
    of_second = run_config.from_toml_dict(run_folder.open_run(second.path)[0])
    assert of_second == run_config.configure("fedavg", rounds=3, client_lr=0.25, seed=1)
    assert first.path != second.path


def test_the_manifest_says_what_ran_on_what(folder: RunFolder) -> None:
    manifest = folder.manifest()
    assert manifest["command"] == COMMAND
    assert (manifest["device_kind"], manifest["device_count"]) == ("cpu", 4)
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert manifest["versions"]["numpy"] == np.__version__
    assert set(run_folder.DISTRIBUTIONS) < set(manifest["versions"])
    assert manifest["started"].endswith("+00:00")


def test_the_status_has_its_time(folder: RunFolder) -> None:
    assert (folder.manifest()["status"], folder.manifest()["finished"]) == ("running", None)
    before = folder.manifest()
    folder.set_status("diverged at round 12")
    after = folder.manifest()
    assert after["status"] == "diverged at round 12"
    assert after["finished"] >= before["started"]
    assert {name: value for name, value in after.items() if name not in ("status", "finished")} == {
        name: value for name, value in before.items() if name not in ("status", "finished")
    }
    folder.set_status("running")
    assert folder.manifest() == before


def test_a_run_of_several_seeds_says_by_itself_how_it_stands(tmp_path: Path) -> None:
    folders = create(tmp_path, [0, 1], run_config.to_toml_dict(run_config.configure("fedavg", seeds=2)))
    folders[1].update_manifest(diverged_at=3, status="diverged in round 3")
    Recorder(folders, {}).set_status("finished")
    assert [
        RunFolder(path).manifest()["status"] for path in (tmp_path, *(each.path for each in folders))
    ] == [
        "finished",
        "finished",
        "diverged in round 3",
    ]


def test_the_commit_is_known_only_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "fedjax_sparse" / "records" / "run_folder.py"))
    assert create(tmp_path / "installed", [0])[0].manifest()["commit"] is None
    (tmp_path / "fedjax_sparse").mkdir()
    (tmp_path / "code.py").write_text("x = 1\n")
    git = [
        "git",
        "-C",
        str(tmp_path),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.c",
        "-c",
        "commit.gpgsign=false",
    ]
    for command in (
        ["init", "--quiet"],
        ["add", "code.py"],
        ["commit", "--quiet", "--no-verify", "-m", "one"],
    ):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert create(tmp_path / "clean", [0])[0].manifest()["commit"] == head
    (tmp_path / "code.py").write_text("x = 2\n")
    assert create(tmp_path / "dirty", [0])[0].manifest()["commit"] == f"{head}-dirty"


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError) as error:
        create(tmp_path / below, [0])
    assert str(tmp_path / below) in one_line(error)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda out: (out / "config.toml").unlink(), "config.toml"),
        (lambda out: (out / "config.toml").write_text("rounds = = 3"), "config.toml"),
        (lambda out: (out / "config.toml").write_bytes(b"\xff\xfe"), "config.toml"),
        (lambda out: (out / "manifest.json").unlink(), "manifest.json"),
        (lambda out: (out / "manifest.json").write_text("{"), "manifest.json"),
        (lambda out: (out / "manifest.json").write_text("{}"), "manifest.json"),
        (lambda out: (out / "seed_1" / "metrics.jsonl").unlink(), "seed_1"),
        (lambda out: (out / "seed_1").rename(out / "elsewhere"), "seed_1"),
    ],
)
def test_an_incomplete_folder_cannot_be_resumed(tmp_path: Path, damage, named: str) -> None:
    create(tmp_path, [0, 1])
    damage(tmp_path)
    with pytest.raises(UsageError) as error:
        run_folder.open_run(tmp_path)
    assert named in one_line(error)


def test_what_is_no_run_folder_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.config\.toml"):
        run_folder.open_run(tmp_path / "nowhere")


def test_rows_are_exact(folder: RunFolder) -> None:
    row = {
        "round": 1,
        "flops": 3 * 10**30 + 1,
        "uplink_bytes": np.int64(2**40),
        "global_test_loss": np.float32(0.1),
        "drift": jnp.float32(0.1),
        "density": 1 / 3,
        "train_loss": float("nan"),
        "grad_norm": jnp.float32(jnp.inf),
        "note": None,
        "per_layer": jnp.array([1.0, -jnp.inf]),
    }
    folder.append(row)
    (read,) = folder.rows()
    tenth = float(np.float32(0.1))
    assert read == {
        "round": 1,
        "flops": 3 * 10**30 + 1,
        "uplink_bytes": 2**40,
        "global_test_loss": tenth,
        "drift": tenth,
        "density": 1 / 3,
        "train_loss": None,
        "grad_norm": None,
        "note": None,
        "per_layer": [1.0, None],
    }
    text = (folder.path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


@given(values=st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.floats())))
def test_any_rows_come_back_one_a_line(tmp_path_factory: pytest.TempPathFactory, values: list[dict]) -> None:
    (run,) = create(tmp_path_factory.mktemp("rows") / "run", [0])
    values = [row | {"round": t} for t, row in enumerate(values, start=1)]
    for row in values:
        run.append(row)
    finite = [
        {name: None if isinstance(x, float) and not np.isfinite(x) else x for name, x in row.items()}
        for row in values
    ]
    assert run.rows() == finite
    assert (run.path / "metrics.jsonl").read_bytes().count(b"\n") == len(values)


def test_a_run_killed_within_a_row_loses_that_row_alone(folder: RunFolder) -> None:
    rows = [{"round": t, "train_loss": 1 / t} for t in (5, 10, 15)]
    for row in rows:
        folder.append(row)
    path = folder.path / "metrics.jsonl"
    whole = path.read_bytes()
    before_last = whole[: whole.rindex(b"\n", 0, -1) + 1]
    for length in range(len(before_last) + 1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.warns(UserWarning, match=r"metrics\.jsonl: its last line is half written, and left out"):
            assert folder.rows() == rows[:2]
    with pytest.warns(UserWarning, match="half written"):
        folder.truncate(15)
    assert folder.rows() == rows[:2]
    assert path.read_bytes() == before_last


@pytest.mark.parametrize(("after", "left"), [(0, 0), (5, 1), (12, 2), (15, 3), (99, 3)])
def test_truncate_leaves_what_was_written_until_then(folder: RunFolder, after: int, left: int) -> None:
    path = folder.path / "metrics.jsonl"
    for t in (5, 10, 15):
        folder.append({"round": t, "train_loss": 1 / t, "flops": 10**25 * t})
    lines = path.read_bytes().splitlines(keepends=True)
    with path.open("ab") as file:
        file.write(b'{"round": 20, "train')
    with pytest.warns(UserWarning, match="half written"):
        folder.truncate(after)
    assert path.read_bytes() == b"".join(lines[:left])


def test_blank_lines_at_the_end_are_passed_over(folder: RunFolder) -> None:
    folder.append({"round": 5})
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(b"\n \n")
    assert folder.rows() == [{"round": 5}]


@pytest.mark.parametrize(
    "line", [b"5", b"[]", b'{"a": 1}', b'{"round": "x"}', b'{"round": null}', b"[" * 9999]
)
def test_a_line_that_is_no_row_is_named(folder: RunFolder, line: bytes) -> None:
    folder.append({"round": 5})
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged: line 2"):
        folder.rows()


@pytest.mark.parametrize("content", ["[]", "5", "null", '{"seeds": 5}', '{"seeds": ["x"]}', "[" * 9999])
def test_a_manifest_that_is_none_is_named(folder: RunFolder, content: str) -> None:
    (folder.path / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match=r"manifest\.json (is not|names no seeds)"):
        run_folder.open_run(folder.path)


@pytest.mark.parametrize("name", ["a" * 300, "\0"])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot write run folder"), claims.new([tmp_path / name]):
        pass


def test_bytes_of_a_locale_without_utf8_are_recorded_as_utf8(tmp_path: Path) -> None:
    create(tmp_path / "run", [0], {"out": "\udcc3\udcbc"})
    assert run_folder.open_run(tmp_path / "run")[0]["out"] == "ü"


def test_of_a_divergence_before_the_first_checkpoint_none_is_claimed(folder: RunFolder) -> None:
    said: list[str] = []
    diverged = types.SimpleNamespace(emptied_at=None, diverged_at=1)
    progress: Any = types.SimpleNamespace(round=1, rows=[None], ledgers=[diverged])
    Recorder([folder], {}).record(progress, said.append)
    assert said == [f"{folder.path}: diverged in round 1; it has no checkpoint yet"]


def test_a_damaged_row_is_named(folder: RunFolder) -> None:
    for t in (1, 2, 3):
        folder.append({"round": t})
    path = folder.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b'{"round": 2}', b'{"rou\xffd": 2}'))
    with pytest.raises(RunError) as error:
        folder.rows()
    assert "line 2" in one_line(error)


def test_rows_of_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"metrics\.jsonl"):
        RunFolder(tmp_path).rows()


def test_a_row_that_cannot_be_written_is_a_failed_run(folder: RunFolder) -> None:
    (folder.path / "metrics.jsonl").unlink()
    (folder.path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError) as error:
        folder.append({"round": 1})
    assert "metrics.jsonl" in one_line(error)


def test_a_row_on_a_full_disk_is_a_failed_run(folder: RunFolder) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs the device /dev/full, a disk that is always full")
    (folder.path / "metrics.jsonl").unlink()
    (folder.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left on device"):
        folder.append({"round": 1})


@pytest.mark.filterwarnings("ignore:.*its last line is half written")
def test_a_row_that_is_cut_by_a_full_disk_is_a_failed_run(folder: RunFolder) -> None:
    folder.append({"round": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder.path / "metrics.jsonl").stat().st_size + 5, hard))
    try:
        with pytest.raises(RunError, match="the disk is full"):
            folder.append({"round": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folder.rows() == [{"round": 1}]


def test_clients_with_classes(tmp_path: Path) -> None:
    run_folder.write_clients(tmp_path, np.array([[3, 0], [1, 4]]))
    assert (tmp_path / "clients.csv").read_text() == "client,examples,class_0,class_1\n0,3,3,0\n1,5,1,4\n"


def test_clients_without_classes(tmp_path: Path) -> None:
    run_folder.write_clients(tmp_path, np.array([7, 2]))
    assert (tmp_path / "clients.csv").read_text() == "client,examples\n0,7\n1,2\n"


def test_files_are_replaced_whole(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment before the old file is replaced, it is untouched and the new one complete."""
    seen = []
    replace = Path.replace

    def spy(self: Path, target: Path) -> Path:
        seen.append((json.loads(self.read_text())["status"], json.loads(target.read_text())["status"]))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    folder.set_status("finished")
    assert seen == [("finished", "running")]
    assert sorted(entry.name for entry in folder.path.iterdir()) == [
        "config.toml",
        "manifest.json",
        "metrics.jsonl",
    ]
