"""A new algorithm takes under 40 lines, and the contract tests hold it to its word the day it is registered."""

import inspect
import types

import jax
import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import registry
from fedjax_sparse.config.cards import fedavg
from fedjax_sparse.config.entry import Entry
from tests import example_algorithm, test_contract

ENTRY = Entry(
    name="top-k-steps",
    summary="FedAvg in which every client sends only its largest steps",
    factory="tests.example_algorithm:top_k_steps",
    hyperparameters=example_algorithm.TopKSteps,
    system="example",
    references=(),
    sparse=("upload",),
)

CHECKS = {name: check for name, check in vars(test_contract).items() if name.startswith("test_")}


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fedavg, "ENTRIES", (*fedavg.ENTRIES, ENTRY))
        yield


def test_it_takes_under_forty_lines():
    assert len(inspect.getsource(example_algorithm.top_k_steps).splitlines()) < 40


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_it_passes_the_contract(check: types.FunctionType):
    with jax.enable_x64(True):
        subject = test_contract.compiled(ENTRY.name)
        cuts = [cut for cut in test_contract.CUTS if cut != "one by one"]
        for cut in cuts if "cut" in inspect.signature(check).parameters else [None]:
            check(subject) if cut is None else check(subject, cut)


def test_it_is_on_the_command_line_with_its_help(capsys):
    assert ENTRY.name in registry.algorithms()
    assert main(["run", ENTRY.name, "--help"]) == 0
    assert "fraction of a step that is not sent" in capsys.readouterr().out
    assert main(["run", ENTRY.name, "--sparsity", "1.5"]) == 2
