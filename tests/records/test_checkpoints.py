"""Checkpoints: exact, whole or absent, and every damage noticed before anything is read."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.records import checkpoints
from fedjax_sparse.types import PyTree


class Server(NamedTuple):
    params: PyTree
    opt: PyTree
    mask: PyTree


def make_state(seed: int) -> PyTree:
    """Everything that the states of algorithms are made of."""
    normal = np.random.default_rng(seed).normal
    params = {
        "dense": {"kernel": jnp.asarray(normal(size=(4, 3)), jnp.float32), "bias": jnp.zeros(3)},
        "half": jnp.asarray(normal(size=5), jnp.bfloat16),
        "temperature": jnp.float32(normal()),
        "unused": jnp.zeros((0, 3)),
    }
    server = Server(params, optax.adam(1e-3).init(params), jax.tree.map(lambda leaf: leaf > 0, params))
    clients = {
        "packed": np.arange(24, dtype=np.uint8).reshape(2, 12) + np.uint8(seed),
        "variate": normal(size=(2, 3)),
        "nobody": np.zeros((2, 0), np.int32),
    }
    special = jnp.array([jnp.nan, jnp.inf, -0.0, 1e-45], jnp.float32)
    return (
        server,
        clients,
        (),
        None,
        [jax.random.key_data(jax.random.key(seed)), jnp.int32(seed), jnp.bool_(True), special],
    )


def assert_same(actual: PyTree, expected: PyTree) -> None:
    """Same structure, kinds of array, dtypes, shapes and bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(x, jax.Array) == isinstance(y, jax.Array)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Checkpoints of rounds 5 and 10, whose states are made from those numbers."""
    for step in (5, 10):
        checkpoints.save(tmp_path, step, make_state(step), {"round": step}, metric=step / 100)
    return tmp_path


def restore(folder: Path, **kwargs: Any) -> tuple[int, PyTree, dict[str, Any], list[str]]:
    """Restores, and returns what was reported as well."""
    reports: list[str] = []
    step, state, extra = checkpoints.restore(folder, make_state(0), report=reports.append, **kwargs)
    assert_same(state, make_state(step))
    assert extra == {"round": step}
    assert all("\n" not in report for report in reports)
    return step, state, extra, reports


def test_a_state_comes_back_bit_for_bit(saved: Path) -> None:
    step, _, _, reports = restore(saved)
    assert (step, reports) == (10, [])


@pytest.mark.parametrize(
    "name", ["exp[1]", "a*b", "a?b", "a\\b", "gs:", "a{b,c}", "%20", "ü", "a b", "-x", "~", "$HOME", "a\nb"]
)
def test_a_path_may_hold_any_character(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "checkpoints"
    for step in (5, 10):
        checkpoints.save(folder, step, make_state(step), {"round": step})
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert restore(folder)[0] == 10
    shutil.rmtree(folder / "10")
    assert restore(folder)[0] == 5


@pytest.mark.parametrize("lost", ["arrays.npz", "checkpoint.json", "sha256.json"])
def test_what_does_not_read_back_was_not_written(
    tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes every file without complaint, and loses a byte of one."""
    state = {"a": np.arange(1000)}
    checkpoints.save(tmp_path, 10, state, {})
    written = iter(["arrays.npz", "checkpoint.json", "sha256.json"])

    def lose(file: int) -> None:
        if next(written) == lost:
            os.pwrite(file, b"7", os.fstat(file).st_size // 2)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(RunError, match=r"cannot write checkpoint .*15 \(.*\); those before it are kept"):
        checkpoints.save(tmp_path, 15, state, {"digits": "0" * 500})
    assert checkpoints.restore(tmp_path, state)[0] == 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["10"]


def test_a_step_can_be_chosen(saved: Path) -> None:
    assert restore(saved, step=5)[0] == 5


def test_a_state_in_double_precision(tmp_path: Path) -> None:
    with jax.enable_x64(True):
        state = {"a": jnp.array([1 / 3, 1e-300]), "b": jnp.int64(2**62 + 1)}
        checkpoints.save(tmp_path, 1, state, {})
        assert_same(checkpoints.restore(tmp_path, jax.tree.map(jnp.zeros_like, state))[1], state)


def test_extra_values_are_exact(tmp_path: Path) -> None:
    extra = {"flops": 7 * 10**40 + 1, "best": -float("inf"), "loss": 1 / 3, "none": None, "names": ["a", "ü"]}
    checkpoints.save(tmp_path, 1, {"a": jnp.ones(1)}, extra)
    assert checkpoints.restore(tmp_path, {"a": jnp.ones(1)})[2] == extra


def test_arrays_go_where_those_of_the_template_are(tmp_path: Path) -> None:
    mesh = jax.make_mesh((4,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("clients")))
    on_last = jax.device_put(jnp.ones(2), jax.devices()[-1])
    state = {"spread": spread, "on_last": on_last, "free": jnp.ones(3)}
    checkpoints.save(tmp_path, 1, state, {})
    _, restored, _ = checkpoints.restore(tmp_path, state)
    assert restored["spread"].sharding == spread.sharding
    assert restored["on_last"].sharding == on_last.sharding
    assert not restored["free"].committed
    with_mesh = jax.jit(lambda a, b: a.sum() + b.sum())(restored["spread"], restored["free"])
    assert with_mesh == 31


def test_a_checkpoint_of_another_topology_is_usable(tmp_path: Path) -> None:
    mesh = jax.make_mesh((4,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("clients")))
    checkpoints.save(tmp_path, 1, {"a": spread}, {})
    assert_same(checkpoints.restore(tmp_path, {"a": jnp.zeros(8)})[1], {"a": jnp.arange(8.0)})


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ({"a": jnp.ones(3), "b": jnp.ones(2)}, ["['a'] float32[2]", "['a'] float32[3]"]),
        ({"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}, ["['a'] float32[2]", "['a'] bfloat16[2]"]),
        ({"a": jnp.ones(2), "c": jnp.ones(2)}, ["['b'] float32[2]", "['c'] float32[2]"]),
        ({"a": jnp.ones(2)}, ["['b'] float32[2]"]),
        ({"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(())}, ["['c'] float32[]"]),
        (Server(jnp.ones(2), jnp.ones(2), ()), ["['a'] float32[2]", ".params float32[2]"]),
    ],
)
def test_a_state_of_another_configuration_is_refused(
    tmp_path: Path, template: PyTree, named: list[str]
) -> None:
    checkpoints.save(tmp_path, 1, {"a": jnp.ones(2), "b": jnp.ones(2)}, {})
    with pytest.raises(UsageError) as error:
        checkpoints.restore(tmp_path, template)
    assert "\n" not in str(error.value)
    assert all(name in str(error.value) for name in named)


def files_of(checkpoint: Path) -> list[Path]:
    return sorted(file for file in checkpoint.rglob("*") if file.is_file())


def flip(at: float, bits: int) -> Callable[[Path], None]:
    """A damage: one byte changed."""

    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        if content:
            content[int(at * (len(content) - 1))] ^= bits
        else:
            content.append(bits)
        file.write_bytes(content)

    return damage


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1] if file.stat().st_size else b"x")


DAMAGES = {
    "first bit": flip(0.0, 0x01),
    "middle": flip(0.5, 0x20),
    "last": flip(1.0, 0x80),
    "cut": cut,
    "emptied": lambda file: file.write_bytes(b"" if file.stat().st_size else b"x"),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_to_any_file_falls_back_to_the_checkpoint_before(
    saved: Path, damage: Callable[[Path], Any]
) -> None:
    files = files_of(saved / "10")
    assert [file.name for file in files] == ["arrays.npz", "checkpoint.json", "sha256.json"]
    for file in files:
        content = file.read_bytes()
        damage(file)
        step, _, _, reports = restore(saved)
        assert step == 5, file
        assert len(reports) == 1
        assert str(saved / "10") in reports[0]
        with pytest.raises(RunError):
            restore(saved, step=10)
        file.write_bytes(content)
    assert restore(saved)[0] == 10


@pytest.mark.parametrize("bits", [0x01, 0x20, 0x80])
def test_no_byte_of_the_digests_can_change(saved: Path, bits: int) -> None:
    file = saved / "10" / "sha256.json"
    content = file.read_bytes()
    for i in range(0, len(content), 7):
        file.write_bytes(content[:i] + bytes([content[i] ^ bits]) + content[i + 1 :])
        assert checkpoints.common_step([saved], report=lambda line: None) == 5, i


@pytest.mark.parametrize("content", ["[]", "null", "0", "{}", '{"a": "b"}'])
def test_digests_of_another_kind(saved: Path, content: str) -> None:
    (saved / "10" / "sha256.json").write_text(content)
    assert restore(saved)[0] == 5


def test_damage_is_a_warning_unless_it_is_reported_elsewhere(saved: Path) -> None:
    (saved / "10" / "checkpoint.json").unlink()
    with pytest.warns(UserWarning, match=r"10 is damaged: checkpoint\.json is missing"):
        assert checkpoints.restore(saved, make_state(0))[0] == 5


def test_without_a_good_checkpoint_the_run_has_failed(saved: Path) -> None:
    for step in ("5", "10"):
        (saved / step / "sha256.json").unlink()
    with pytest.raises(RunError) as error:
        restore(saved)
    assert str(saved) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_without_any_checkpoint(tmp_path: Path, folder: str) -> None:
    assert checkpoints.steps(tmp_path / folder) == []
    assert checkpoints.select_best(tmp_path / folder) is None
    with pytest.raises(RunError, match="no usable checkpoint"):
        checkpoints.restore(tmp_path / folder, make_state(0))
    with pytest.raises(RunError, match="cannot be read"):
        checkpoints.restore(tmp_path / folder, make_state(0), step=3)


def keep_after(folder: Path, saves: list[tuple[int, float | None]]) -> list[int]:
    for step, metric in saves:
        checkpoints.save(folder, step, {"a": jnp.full(2, step)}, {}, metric=metric)
    return checkpoints.steps(folder)


@pytest.mark.parametrize(
    ("metrics", "kept", "best"),
    [
        ([0.5], [1], 1),
        ([0.5, 0.6], [1, 2], 2),
        ([0.5, 0.6, 0.7], [2, 3], 3),
        ([0.5, 0.9, 0.7, 0.8, 0.6], [2, 4, 5], 2),
        ([0.9, 0.9, 0.9, 0.9], [1, 3, 4], 1),
        ([0.1, float("nan"), 0.05, 0.0], [1, 3, 4], 1),
        ([float("nan"), float("nan"), float("nan")], [2, 3], None),
        ([None, None, None, None], [3, 4], None),
        ([None, -5.0, None, None], [2, 3, 4], 2),
    ],
)
def test_the_last_two_and_the_best_are_kept(
    tmp_path: Path, metrics: list[float | None], kept: list[int], best: int | None
) -> None:
    assert keep_after(tmp_path, list(enumerate(metrics, start=1))) == kept
    assert checkpoints.select_best(tmp_path) == best
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(map(str, kept))


def test_steps_are_in_numerical_order(tmp_path: Path) -> None:
    assert keep_after(tmp_path, [(8, None), (9, None), (10, None), (100, None)]) == [10, 100]


def test_a_resumed_run_replaces_the_future_that_it_came_from(tmp_path: Path) -> None:
    """Whose checkpoints, the best of all among them, no longer belong to the run."""
    keep_after(tmp_path, [(10, 0.5), (20, 0.6), (30, 0.9), (40, 0.7)])
    assert keep_after(tmp_path, [(25, 0.4)]) == [25]


def test_a_checkpoint_of_the_same_step_is_replaced(saved: Path) -> None:
    (saved / "10" / "checkpoint.json").write_text("{")
    checkpoints.save(saved, 10, make_state(10), {"round": 10})
    assert restore(saved)[0] == 10
    assert checkpoints.steps(saved) == [5, 10]


def test_a_damaged_metric_is_not_the_best(saved: Path) -> None:
    assert checkpoints.select_best(saved) == 10
    path = saved / "10" / "checkpoint.json"
    path.write_text(path.read_text().replace('"metric": 0.1', '"metric": 0.9'))
    assert checkpoints.select_best(saved) == 5


def test_several_seeds_go_on_from_a_step_that_all_have(tmp_path: Path) -> None:
    folders = [tmp_path / f"seed_{seed}" for seed in range(3)]
    for folder in folders:
        keep_after(folder, [(10, None), (20, None)])
    assert checkpoints.common_step(folders) == 20
    keep_after(folders[0], [(30, None)])  # killed before the others had theirs
    assert checkpoints.common_step(folders) == 20
    for folder in folders[1:]:
        keep_after(folder, [(30, None)])
    (folders[2] / "30" / "sha256.json").write_text("{")
    reports: list[str] = []
    assert checkpoints.common_step(folders, report=reports.append) == 20
    (report,) = reports
    assert str(folders[2] / "30") in report
    shutil.rmtree(folders[1] / "20")
    with pytest.raises(RunError, match="no usable checkpoint"):
        checkpoints.common_step(folders, report=reports.append)


def test_a_run_killed_at_any_moment_of_a_save_can_go_on(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is copied before and after every step of a save: what a kill would leave behind."""
    left = tmp_path_factory.mktemp("left")

    def photographed(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            shutil.copytree(saved, left / str(len(list(left.iterdir()))))
            result = original(*args, **kwargs)
            shutil.copytree(saved, left / str(len(list(left.iterdir()))))
            return result

        monkeypatch.setattr(owner, name, wrapper)

    with monkeypatch.context():
        photographed(checkpoints, "_write_arrays")
        photographed(checkpoints, "_write")
        photographed(Path, "rename")
        checkpoints.save(saved, 15, make_state(15), {"round": 15}, metric=0.01)
    monkeypatch.undo()
    folders = sorted(left.iterdir())
    assert len(folders) >= 8
    outcomes = set()
    for folder in folders:
        step, _, _, reports = restore(folder)
        assert reports == []
        outcomes.add(step)
        checkpoints.save(folder, 15, make_state(15), {"round": 15})
        assert restore(folder)[0] == 15
        assert all(entry.name.isdecimal() for entry in folder.iterdir())
    assert outcomes == {10, 15}


SAVE_FOR_EVER = """
import sys, pathlib, itertools
import jax.numpy as jnp
from fedjax_sparse.records import checkpoints
for step in itertools.count(1):
    checkpoints.save(pathlib.Path(sys.argv[1]), step, {"a": jnp.full(1000, step)}, {"round": step})
    print(step, flush=True)
"""


def test_a_run_that_is_killed_while_saving_can_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        announced = [int(child.stdout.readline()) for _ in range(4)][-1]
        child.kill()
    assert child.returncode == -signal.SIGKILL
    step, state, extra = checkpoints.restore(tmp_path, {"a": jnp.zeros(1000, jnp.int32)})
    assert step >= announced
    assert extra == {"round": step}
    np.testing.assert_array_equal(state["a"], step)


def test_a_full_disk_leaves_what_was_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(saved)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunError, match=r"15 \(.* bytes are needed, 100 are free\); those before it are kept"):
        checkpoints.save(saved, 15, make_state(15), {})
    assert restore(saved)[0] == 10
    assert sorted(entry.name for entry in saved.iterdir()) == ["10", "5"]


FILL = """
import pathlib, resource, sys
import numpy as np
from fedjax_sparse.records import checkpoints
folder = pathlib.Path(sys.argv[1])
checkpoints.save(folder, 1, {"a": np.arange(1000)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(folder, 2, {"a": np.arange(1000), "b": np.ones(20_000)}, {})
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_disk_that_is_full_in_the_middle_is_one_line(tmp_path: Path) -> None:
    """No file may grow beyond a size: the second checkpoint fails while its arrays are written."""
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert re.fullmatch(
        rf"RunError: cannot write checkpoint {re.escape(str(tmp_path))}/2 \(.*\); those before it are kept\n",
        done.stdout,
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["1"]
    assert checkpoints.restore(tmp_path, {"a": np.zeros(1000, int)})[0] == 1


def test_a_folder_that_cannot_be_made_is_a_failed_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError) as error:
        checkpoints.save(tmp_path / "file" / "checkpoints", 1, make_state(1), {})
    assert "\n" not in str(error.value)


def test_the_user_hears_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        checkpoints.save(tmp_path, 1, make_state(1), {"round": 1})
        restore(tmp_path)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_the_files_say_what_they_are(saved: Path) -> None:
    contents = json.loads((saved / "10" / "checkpoint.json").read_text())
    assert contents["metric"] == 0.1
    assert ["[0].params['half']", [5], "bfloat16"] in contents["leaves"]
    listed = json.loads((saved / "10" / "sha256.json").read_text())
    on_disk = {file.relative_to(saved / "10").as_posix() for file in files_of(saved / "10")}
    assert set(listed) == on_disk - {"sha256.json"}
