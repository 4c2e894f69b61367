"""How workers and their parent take turns, with workers that do nothing."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import peers
from benchmarks.peer_workers import process
from benchmarks.peer_workers.process import Framework

WORKER = """
from benchmarks.peer_workers import protocol
print("what a library prints is no reply")
for turn, rounds in enumerate(protocol.turns({parameters}, ("numpy",), {{"choice": lambda: None}})):
    {body}
"""


@pytest.fixture
def make_worker(tmp_path):
    def make(name: str, parameters: int = 10, body: str = "pass") -> Framework:
        script = tmp_path / f"{name}.py"
        script.write_text(WORKER.format(parameters=parameters, body=body))
        return Framework(str(script), note="a note")

    return make


def test_all_take_turns(make_worker, tmp_path):
    chosen = {"ours": make_worker("a"), "peer": make_worker("b")}
    ours, peer = peers.measure("mlp", chosen, tmp_path, 2)
    assert (ours["framework"], peer["framework"]) == ("ours", "peer")
    assert ours["time / ours"] == 1
    assert peer["time / ours"] == pytest.approx(peer["ms a round"] / ours["ms a round"])
    assert peer["clients/s"] == pytest.approx(100 / peer["ms a round"] * 1000)
    assert peer["made of"].startswith("numpy ")
    assert peer["made of"].endswith(", choice, a note")


@pytest.mark.parametrize("turn", [0, 3])
def test_a_failure_becomes_a_row_and_the_others_go_on(make_worker, tmp_path, turn):
    broken = make_worker("a", body=f"assert turn < {turn}, 'broken'")
    failed, fine = peers.measure("mlp", {"peer": broken, "ours": make_worker("b")}, tmp_path, 3)
    assert failed["made of"] == "AssertionError: broken"
    assert failed["ms a round"] is None
    assert fine["ms a round"] > 0


def test_networks_of_different_sizes_are_refused(make_worker, tmp_path):
    with pytest.raises(SystemExit, match="'peer': 11"):
        peers.measure("mlp", {"ours": make_worker("a"), "peer": make_worker("b", 11)}, tmp_path, 1)


@pytest.fixture
def installed(monkeypatch):
    """What pip was asked for, one list for each call; nothing is installed."""
    calls = []

    def run(command, **_):
        if "venv" in command:
            command[-1].mkdir(exist_ok=True)
        else:
            calls.append([*command[command.index("--no-input") + 1 :]])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(process.subprocess, "run", run)
    return calls


def test_an_environment_is_made_once_for_each_commit(installed, tmp_path):
    framework = Framework("a.py", installs=(["jax", "/checkout"],), environment="a", commit="1")
    for commit in ("1", "1", "2"):
        process.python_of(framework._replace(commit=commit), tmp_path)
    assert installed == [["jax", "/checkout"]] * 2


def test_the_index_of_cpu_builds_is_for_pytorch_alone(installed, tmp_path):
    process.python_of(peers.frameworks(torch_index="URL")["pfl"], tmp_path)
    assert installed == [["--index-url", "URL", *peers.TORCH], ["pfl==0.6.0"]]


@pytest.mark.parametrize(
    ("there", "python", "version"),
    [
        ([], sys.executable, "3.0.0"),
        (["python3.12", "python3.13"], "python3.13", "2.0.3"),
        (["python3.14", "python3.14t"], "python3.14t", "3.0.0"),
    ],
)
def test_blazefl_is_made_of_the_best_python_on_the_path(monkeypatch, there, python, version):
    monkeypatch.setattr(peers.shutil, "which", lambda name: name if name in there else None)
    framework = peers.frameworks()["blazefl"]
    assert framework.python == python
    assert framework.installs[1] == [f"blazefl[contrib,reproducibility]=={version}"]


def test_a_checkout_is_installed_by_its_full_path(tmp_path, monkeypatch):
    (tmp_path / "fedjax").mkdir()
    monkeypatch.chdir(tmp_path)
    framework = peers.frameworks(peers.checkout("./fedjax"))["fedjax"]
    assert framework.installs[0][1] == str(tmp_path / "fedjax")
    assert framework.note == "checkout"


def test_a_checkout_is_known_by_its_commit():
    here = Path(__file__).parent
    if not peers.commit_of(here):
        pytest.skip("the tests are in no Git repository")
    framework = peers.frameworks(here)["fedjax"]
    assert len(framework.commit) == 40
    assert framework.note == f"checkout {framework.commit[:12]}"


def test_a_checkout_that_is_no_folder_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["peers", "--fedjax", "missing"])
    with pytest.raises(SystemExit, match="2"):
        peers.main()
    assert capsys.readouterr().err.splitlines()[-1].endswith("missing is no folder")
