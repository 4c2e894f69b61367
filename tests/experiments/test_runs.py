"""Whole runs through the command line: records, kills, signals, resumption, divergence, damage."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tomli_w

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import run_config
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.data import datasets
from fedjax_sparse.experiments import runs
from fedjax_sparse.experiments.building import build
from fedjax_sparse.records import checkpoints, claims, run_folder
from fedjax_sparse.records.recorder import Recorder
from fedjax_sparse.simulation import ledger, programs
from fedjax_sparse.simulation.memory import TooLargeError

QUICK = ("--clients", "6", "--cohort-size", "3", "--local-epochs", "1", "--eval-every", "2")
KEYS = {
    "round",
    "train_loss",
    "global_test_loss",
    "global_test_accuracy",
    "density",
    "density_prunable",
    "uplink_bytes",
    "downlink_bytes",
    "communicated_values",
    "flops",
    "flops_dense",
    "wall_seconds",
}


def run(out: Path, *flags: str, algorithm: str = "fedsparsify-global") -> int:
    return main(["run", algorithm, *QUICK, *flags, "--out", str(out)])


def rows(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != "wall_seconds"} for line in lines
    ]


def final_state(folder: Path) -> list[np.ndarray]:
    table, _ = run_folder.open_run(folder)
    experiment = build(run_config.from_toml_dict(table))
    template = programs.state_shapes(experiment.algorithm, experiment.setting)
    _, state, _ = checkpoints.restore(folder / "checkpoints", template)
    return [np.asarray(leaf) for leaf in state.server.variables.params["Dense_0"].values()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of 12 rounds that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(out, "--rounds", "12", "--checkpoint-every", "3") == 0
    return out


def test_a_run_leaves_a_complete_folder(whole):
    recorded = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in recorded] == [0, 2, 4, 6, 8, 10, 12]
    assert all(row.keys() >= KEYS for row in recorded)
    last = recorded[-1]
    size = 26_122  # 64 * 128 + 128, 128 * 128 + 128, 128 * 10 + 10
    assert last["density"] == (size - int(0.9 * size)) / size
    assert 0 < last["flops"] < last["flops_dense"]
    kept = [size - int(Fraction(9, 10) * size * (1 - Fraction(12 - t, 11) ** 3)) for t in range(1, 12)]
    assert last["communicated_values"] == 2 * 3 * (
        size + sum(kept)
    )  # both ways, under the mask of the round before
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["seeds"] == [0]
    assert (whole / "figures" / "accuracy_by_round.png").stat().st_size > 1000
    assert not [*whole.rglob("*.pdf")]  # which plot draws
    assert len((whole / "clients.csv").read_text().splitlines()) == 7
    assert checkpoints.steps(whole / "checkpoints")[-1] == 12


def test_the_last_round_is_always_evaluated(tmp_path):
    assert run(tmp_path / "run", "--rounds", "3", "--no-figures", algorithm="fedavg") == 0
    assert [row["round"] for row in rows(tmp_path / "run")] == [0, 2, 3]
    assert not (tmp_path / "run" / "figures").exists()


def start(out: Path) -> subprocess.Popen:
    """The same run as `whole`, in a process of its own."""
    command = [sys.executable, "-m", "fedjax_sparse", "run", "fedsparsify-global", *QUICK]
    command += ["--rounds", "12", "--checkpoint-every", "3", "--out", str(out)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.parametrize(
    "moment", [0, 1, *(pytest.param(more, marks=pytest.mark.slow) for more in range(2, 8))]
)
def test_killed_and_resumed_ends_as_if_never_killed(whole, tmp_path, moment):
    """SIGKILL at a random moment once the first checkpoint begins; then resume, here."""
    out = tmp_path / "run"
    process = start(out)
    wait_for(out / "checkpoints", process)
    time.sleep(random.Random(moment).uniform(0, 0.3))
    process.kill()
    process.wait()
    assert main(["resume", str(out)]) == 0
    assert rows(out) == rows(whole)
    for mine, theirs in zip(final_state(out), final_state(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_the_block_and_leaves_a_checkpoint(whole, tmp_path, number, code, monkeypatch):
    """The signal comes while round 4 is recorded, between two checkpoints."""
    append = run_folder.RunFolder.append

    def append_and_interrupt(folder, row):
        append(folder, row)
        if row["round"] == 4:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.RunFolder, "append", append_and_interrupt)
        assert run(tmp_path / "run", "--rounds", "12", "--checkpoint-every", "3") == code
    assert checkpoints.steps(tmp_path / "run" / "checkpoints")[-1] == 4
    assert (
        json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted after round 4"
    )
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert rows(tmp_path / "run") == rows(whole)


@pytest.mark.filterwarnings("ignore:.*its last line is half written")
def test_half_lines_and_later_rows_are_dropped_on_resume(whole, tmp_path):
    out = copy(whole, tmp_path)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"round": 14, "tra')
    assert main(["resume", str(out)]) == 0
    assert rows(out) == rows(whole)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(whole, tmp_path, capsys):
    out = copy(whole, tmp_path)
    last = out / "checkpoints" / "12"
    victim = max((file for file in last.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert main(["resume", str(out)]) == 0
    assert "is damaged" in capsys.readouterr().err
    assert rows(out) == rows(whole)


def change(file: Path, content: str) -> None:
    file.write_text(content)


def foreign(newest: Path) -> None:
    """A checkpoint of another run in place of the newest."""
    table = run_config.restated(run_folder.open_run(newest.parents[1])[0], client_lr=0.2)
    extra = {"config": table, "ledger": {}}
    checkpoints.save(newest.parent, int(newest.name), {"a": np.ones(1)}, extra)


WRONG = {
    "no digests": lambda newest: (newest / "sha256.json").unlink(),
    "empty digests": lambda newest: change(newest / "sha256.json", ""),
    "digests of another type": lambda newest: change(newest / "sha256.json", "[1, 2]"),
    "deep digests": lambda newest: change(newest / "sha256.json", "[" * 100_000),
    "one file in place of another": lambda newest: (newest / "checkpoint.json").rename(newest / "arrays.npz"),
    "no arrays": lambda newest: (newest / "arrays.npz").unlink(),
    "of another run": foreign,
    "an empty folder": lambda newest: (newest.parent / "999").mkdir(),
    "a stray file": lambda newest: change(newest.parent / "999", "notes"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_with_the_newest_falls_back_with_one_line(whole, tmp_path, wrong):
    out = copy(whole, tmp_path)
    wrong(out / "checkpoints" / "12")
    table, folders = run_folder.open_run(out)
    lines: list[str] = []
    found = Recorder(folders, table).last_step(lines.append)
    assert found == (12 if (out / "checkpoints" / "999").exists() else 9)
    (line,) = lines
    assert "using the one before" in line
    assert "\n" not in line


def test_a_stray_newest_does_not_stop_a_resume(whole, tmp_path, capsys):
    out = copy(whole, tmp_path)
    shutil.rmtree(out / "checkpoints" / "12")
    (out / "checkpoints" / "999").mkdir()
    assert main(["resume", str(out)]) == 0
    assert "sha256.json is missing; using the one before" in capsys.readouterr().err
    assert rows(out) == rows(whole)


@pytest.mark.parametrize("status", ["finished", "interrupted after round 12", "running"])
def test_without_its_checkpoints_a_run_is_never_trained_again(whole, tmp_path, status, capsys):
    out = copy(whole, tmp_path)
    run_folder.RunFolder(out).set_status(status)
    shutil.rmtree(out / "checkpoints")
    assert main(["resume", str(out)]) == 2
    assert "its checkpoints are gone; the records of 12 rounds are kept" in capsys.readouterr().err
    assert rows(out) == rows(whole)


def test_one_of_several_seeds_is_not_resumed_but_its_run(whole, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole, tmp_path / "seed_0")
    shutil.copy(whole / "manifest.json", tmp_path)
    monkeypatch.chdir(tmp_path / "seed_0")
    for name in (".", "../seed_0/"):
        assert main(["resume", name]) == 2
        assert f"is one of several seeds that run together: resume {tmp_path}" in capsys.readouterr().err


def test_where_no_seed_is_left_nothing_is_trained(whole, tmp_path, capsys):
    out = copy(whole, tmp_path)
    run_folder.RunFolder(out).update_manifest(diverged_at=13)
    assert main(["resume", str(out)]) == 2
    assert "all of its seeds have diverged" in capsys.readouterr().err
    assert rows(out) == rows(whole)


def test_a_run_has_one_writer(whole, tmp_path, capsys):
    out = copy(whole, tmp_path)
    with claims.held(out):
        assert main(["resume", str(out)]) == 2
    assert f"is in use by process {os.getpid()}" in capsys.readouterr().err
    assert rows(out) == rows(whole)


def test_automatic_devices_of_a_cpu_are_halved_until_the_run_fits(monkeypatch, capsys):
    def build(config, initial):
        devices = 5 if config.machine.devices == "auto" else config.machine.devices
        return SimpleNamespace(setting=SimpleNamespace(devices=devices))

    def prepare(experiment, chunk):
        if experiment.setting.devices > fitting:
            raise TooLargeError("the run needs too much")
        return experiment

    monkeypatch.setattr(runs, "build", build)
    monkeypatch.setattr(runs, "prepare", prepare)
    fitting = 2
    ready: Any = runs._ready(configure("fedavg"))
    assert ready.setting.devices == 2
    assert "5 devices need more memory than there is; trying 3\n" in capsys.readouterr().err
    with pytest.raises(TooLargeError):
        runs._ready(configure("fedavg", devices=5))
    fitting = 0
    with pytest.raises(TooLargeError):
        runs._ready(configure("fedavg"))


def load_nothing(*args, **kwargs):
    raise AssertionError("data are loaded")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out", "mine"], "run folder mine is not empty"),
        (["--out", "mine/notes"], "cannot write run folder mine/notes"),
        (["--tensorboard"], "TensorBoard needs another package"),
        (["--wandb"], "pip install 'fedjax-sparse[wandb]'"),
        (["--mlflow"], "pip install 'fedjax-sparse[mlflow]'"),
        (["--network", "none.toml"], "cannot read none.toml"),
        (["--devices", "99999"], "--devices = 99999 is more than there are"),
    ],
)
def test_what_can_be_known_at_once_is_refused_before_data_are_loaded(
    tmp_path, monkeypatch, flags, words, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    for package in ("tensorboardX", "wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(datasets, "load", load_nothing)
    assert main(["run", "fedavg", *flags]) == 2
    assert words in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.rglob("*")] == ["mine", "notes"]


def test_a_changed_configuration_is_refused(whole, tmp_path, capsys):
    out = copy(whole, tmp_path)
    text = (out / "config.toml").read_text()
    (out / "config.toml").write_text(text.replace("client_lr = 0.1", "client_lr = 0.2"))
    assert main(["resume", str(out)]) == 2
    assert "client_lr = 0.2" in capsys.readouterr().err
    assert rows(out) == rows(whole)


def test_a_run_whose_file_has_no_tables_goes_on(whole, tmp_path):
    """As versions up to 0.1 wrote it."""
    out = copy(whole, tmp_path)
    shutil.rmtree(out / "checkpoints" / "12")
    table = run_config.read(out / "config.toml")
    flat = {**run_config.options_of_run(table), "algorithm": table["algorithm"]}
    (out / "config.toml").write_text(tomli_w.dumps(flat))
    assert main(["resume", str(out)]) == 0
    assert rows(out) == rows(whole)


def test_fewer_clients_at_once_change_only_rounding_on_resume(tmp_path):
    """As after running out of memory; the configuration stays, so that the run can be resumed again without."""
    out = tmp_path / "run"
    small = ("--rounds", "4", "--checkpoint-every", "2", "--model", "softmax")
    assert run(out, *small, "--chunk", "3", algorithm="fedavg") == 0
    before, configuration = rows(out), (out / "config.toml").read_text()
    for how in (["--chunk", "1"], []):
        shutil.rmtree(out / "checkpoints" / "4")
        command = ["resume", str(out), *how]
        assert main(command) == 0
        assert json.loads((out / "manifest.json").read_text())["resumed"] == ["fedjax-sparse", *command]
        assert (out / "config.toml").read_text() == configuration
        assert [row["round"] for row in rows(out)] == [0, 2, 4]
        for name in ("train_loss", "global_test_loss"):
            assert rows(out)[-1][name] == pytest.approx(before[-1][name], rel=1e-4)


@pytest.mark.parametrize(("chunk", "allowed"), [("0", "[1, 2147483647]"), ("4", "1 to 3")])
def test_a_wrong_chunk_is_refused_on_resume(whole, chunk, allowed, capsys):
    before = (whole / "manifest.json").read_bytes()
    assert main(["resume", str(whole), "--chunk", chunk]) == 2
    assert f"--chunk = {chunk} is out of range; allowed: {allowed}" in capsys.readouterr().err
    assert (whole / "manifest.json").read_bytes() == before


def copy(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to / "run"))


def test_seeds_run_together_and_each_has_its_folder(tmp_path):
    assert run(tmp_path / "both", "--rounds", "4", "--seeds", "2", "--seed", "5") == 0
    folders = [tmp_path / "both" / f"seed_{seed}" for seed in (5, 6)]
    first, second = (rows(folder)[-1] for folder in folders)
    assert first["round"] == second["round"] == 4
    assert first["global_test_loss"] != second["global_test_loss"]
    assert run(tmp_path / "alone", "--rounds", "4", "--seed", "5") == 0
    alone = rows(tmp_path / "alone")[-1]
    assert alone["uplink_bytes"] == first["uplink_bytes"]
    np.testing.assert_allclose(alone["global_test_loss"], first["global_test_loss"], rtol=1e-3)


def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(tmp_path, capsys):
    flags = ("--rounds", "20", "--client-lr", "30", "--checkpoint-every", "1", "--eval-every", "1")
    assert run(tmp_path / "run", *flags, algorithm="fedavg") == 1
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    at = manifest["diverged_at"]
    said = capsys.readouterr().err
    left = f"its checkpoint of round {at - 1} is kept" if at > 1 else "it has no checkpoint yet"
    assert f"diverged in round {at}; {left}" in said
    assert "nothing was recorded" not in said  # round 0 was
    assert manifest["status"] == f"diverged in round {at}"
    assert [row["round"] for row in rows(tmp_path / "run")] == list(range(at))
    assert all(step < at for step in checkpoints.steps(tmp_path / "run" / "checkpoints"))


def test_an_emptied_layer_is_named_once_with_its_round(tmp_path, capsys):
    """Three weights of three layers stay from round 4 on; a run that goes on after round 5 has been told."""
    flags = ("--rounds", "6", "--sparsity", "0.9999", "--exponent", "12")
    assert run(tmp_path / "run", *flags, "--eval-every", "1", "--checkpoint-every", "5") == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "no weight is left" in line]
    assert re.search(r"no weight is left in Dense_\d/kernel.*, as found after round [34]$", warning)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert "no weight is left" not in capsys.readouterr().err


def test_one_seed_diverges_and_the_other_goes_on(tmp_path, monkeypatch, capsys):
    """Seed 1 is made to report an infinite loss in round 3."""
    charge = ledger.Accountant.charge

    def charging(self, ledgers, metrics, ids, first, last, seconds):
        metrics = metrics._replace(loss=np.array(metrics.loss))
        if first <= 3 <= last:
            metrics.loss[1, 3 - first] = np.inf
        return charge(self, ledgers, metrics, ids, first, last, seconds)

    monkeypatch.setattr(ledger.Accountant, "charge", charging)
    out = tmp_path / "run"
    assert run(out, "--rounds", "6", "--seeds", "2", "--checkpoint-every", "2", algorithm="fedavg") == 1
    assert "seed_1: diverged in round 3" in capsys.readouterr().err
    assert [row["round"] for row in rows(out / "seed_0")] == [0, 2, 4, 6]
    assert [row["round"] for row in rows(out / "seed_1")] == [0, 2]
    assert checkpoints.steps(out / "seed_1" / "checkpoints") == [2]
    assert main(["resume", str(out)]) == 1  # finished, but one seed never will be
    assert [row["round"] for row in rows(out / "seed_1")] == [0, 2]


def test_a_problem_without_classes_leaves_accuracy_out(tmp_path):
    flags = ("--dataset", "synthetic/linear", "--model", "linear", "--rounds", "2", "--client-lr", "0.01")
    assert run(tmp_path / "run", *flags, algorithm="fedavg") == 0
    assert "global_test_accuracy" not in rows(tmp_path / "run")[-1]
    assert rows(tmp_path / "run")[-1]["global_test_loss"] > 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--clients", "2000"), "clients = 2000"),
        (("--chunk", "4"), "--chunk = 4"),
        (("--model", "resnt18"), "did you mean 'resnet18'"),
        (("--partition", "shard"), "did you mean 'shards'"),
        (("--dataset", "digit"), "did you mean 'digits'"),
        (("--cohort-size", "7"), "cohort-size"),
        (("--sparsity", "1.0"), "[0, 1)"),
    ],
)
def test_bad_requests_end_in_one_line_and_leave_nothing(tmp_path, flags, words, capsys):
    assert run(tmp_path / "run", *flags) == 2
    *going_on, error = capsys.readouterr().err.splitlines()
    assert words in error
    assert all(line.startswith(("fedsparsify-global on ", "starting ", "loading ")) for line in going_on)
    assert not (tmp_path / "run").exists()
