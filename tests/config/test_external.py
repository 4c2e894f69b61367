"""Algorithms from outside the package: found, read, refused in one line, run, resumed, drawn and cited."""

import json
import re
import shutil
import sys

import jax.numpy as jnp
import pytest

from fedjax_sparse import make_algorithm
from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import bibliography, external, registry, run_config
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.lengthening import lengthened
from tests import example_algorithm, toy

REFERENCE = "tests.example_algorithm:top_k_steps"
SMALL = ("--clients", "4", "--cohort-size", "2", "--local-steps", "1", "--model", "softmax", "--no-figures")

CARD = """
from fedjax_sparse.config.entry import Entry, Hyperparameters
ENTRY = Entry(
    "own name", "what it does", "tests.example_algorithm:top_k_steps", Hyperparameters, "Mine",
    ("mcmahan2017fedavg", "@misc{mine2030, title = {Mine}}"), follows_length=False,
)
NUMBER = 3
def bare(federation, hyper): ...
def lost(federation, hyper: "Nowhere"): ...
def early(federation: "Nowhere", hyper: "Hyperparameters"):
    '''Is read although only type checkers know its first annotation.'''
"""


@pytest.fixture(autouse=True)
def card(tmp_path, monkeypatch):
    """A module in the working folder, which no installed package knows."""
    (tmp_path / "card_of_mine.py").write_text(CARD)
    (tmp_path / "broken_of_mine.py").write_text("import nothing_of_that_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("card_of_mine", None)


def install(monkeypatch, **names: str) -> None:
    monkeypatch.setattr(external, "installed", lambda: names)


def test_a_factory_says_all_that_is_needed():
    entry = registry.entry(REFERENCE)
    assert (entry.name, entry.factory) == (REFERENCE, REFERENCE)
    assert entry.hyperparameters is example_algorithm.TopKSteps
    assert entry.summary.startswith("Round: w_i = local SGD from w;")
    algorithm = make_algorithm(REFERENCE, toy.setting(jnp.float32).federation, sparsity=0.5)
    assert [promise.what for promise in algorithm.declared] == ["upload"]


def test_an_entry_is_taken_as_it_is_under_the_name_that_finds_it():
    entry = registry.entry("card_of_mine:ENTRY")
    assert (entry.name, entry.summary, entry.system) == ("card_of_mine:ENTRY", "what it does", "Mine")
    assert registry.load(entry) is example_algorithm.top_k_steps
    assert bibliography.bibtex(entry).endswith("@misc{mine2030, title = {Mine}}")


def test_annotations_other_than_the_second_are_not_evaluated():
    assert registry.entry("card_of_mine:early").summary.startswith("Is read although")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:f", "cannot import 'no_such_module' of 'no_such_module:f': ModuleNotFoundError"),
        (":f", "cannot import '' of ':f': ValueError"),
        ("broken_of_mine:f", "No module named 'nothing_of_that_name'"),
        ("card_of_mine:ealy", "unknown name in module card_of_mine 'ealy'; did you mean 'early'?"),
        ("card_of_mine:NUMBER", "card_of_mine:NUMBER is a int; allowed: a factory or an Entry"),
        ("card_of_mine:bare", "card_of_mine:bare does not say what its hyper-parameters are; allowed: "),
        ("card_of_mine:lost", "card_of_mine:lost: 'Nowhere' cannot be evaluated"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(name, message, capsys):
    assert main(["run", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_an_option_may_not_have_the_name_of_one_that_all_runs_have(monkeypatch):
    options = run_config.Training
    card = registry.entry(REFERENCE)
    taken = Entry("taken", "", card.factory, options, "", ())  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"taken: its \w+ has the name of an option that all runs have"):
        run_config.check_values(taken, {})


def test_entry_points_are_listed_and_run_by_name(monkeypatch, capsys):
    install(monkeypatch, mine="card_of_mine:ENTRY", fedavg="card_of_mine:ENTRY", broken="broken_of_mine:f")
    assert main(["list", "algorithms", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["mine"]["description"] == "what it does"
    assert rows["fedavg"]["system"] == "FedAvg"  # the package's own name stays its own
    assert rows["broken"]["description"].startswith("cannot be used: cannot import 'broken_of_mine'")
    assert main(["run", "mine", "--help"]) == 0
    assert "mine: what it does." in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        registry.entry("mien")


def test_entry_points_are_those_of_the_group(monkeypatch):
    point = external.metadata.EntryPoint("mine", "card_of_mine:ENTRY", external.GROUP)
    monkeypatch.setattr(
        external.metadata,
        "entry_points",
        lambda group: [point] if group == "fedjax_sparse.algorithms" else [],
    )
    assert external.installed() == {"mine": "card_of_mine:ENTRY"}


def test_it_is_made_longer_only_where_its_entry_allows_it():
    with pytest.raises(UsageError, match=f"nothing says that no round of {REFERENCE} depends on how many"):
        lengthened(configure(REFERENCE, rounds=2), 3)
    assert lengthened(configure("card_of_mine:ENTRY", rounds=2), 3).training.rounds == 3


def without_clock(row: str) -> dict:
    return {name: value for name, value in json.loads(row).items() if name != "wall_seconds"}


def test_it_has_all_that_a_registered_one_has(tmp_path, capsys):
    """Flags, help, a file, a folder named after it, resuming, figures, and what it cites."""
    assert main(["run", REFERENCE, "--help"]) == 0
    assert "fraction of a step that is not sent" in capsys.readouterr().out
    assert main(["run", REFERENCE, "--sparsity", "1.5"]) == 2
    (tmp_path / "own.toml").write_text(f'[algorithm]\nname = "{REFERENCE}"\nsparsity = 0.5\n')
    assert main(["run", "--config", "own.toml", "--rounds", "2", "--checkpoint-every", "1", *SMALL]) == 0
    (out,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"tests\.example_algorithm\.top_k_steps-digits-[\d-]+", out.name)
    recorded = run_config.from_toml_dict(run_config.read(out / "config.toml"))
    assert recorded.hyper == example_algorithm.TopKSteps(sparsity=0.5)
    before = (out / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(out / "checkpoints" / "2")  # as if it had been stopped in between
    assert main(["resume", str(out)]) == 0
    after = (out / "metrics.jsonl").read_text().splitlines()
    assert [without_clock(row) for row in after] == [without_clock(row) for row in before]
    capsys.readouterr()
    assert main(["plot", str(out), "--out", "figures"]) == 0
    assert any((tmp_path / "figures").iterdir())
    assert main(["cite", str(out)]) == 0
    assert f"{REFERENCE} states no references" in capsys.readouterr().err
