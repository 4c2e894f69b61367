"""A new algorithm takes under 40 lines, and the contract tests hold it to its word the day it is registered."""

import inspect
from dataclasses import dataclass, replace

import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import registry
from fedjax_sparse.config.cards import fedavg
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.testing import contract
from tests import example_algorithm

ENTRY = Entry(
    name="top-k-steps",
    summary="FedAvg in which every client sends only its largest steps",
    factory="tests.example_algorithm:top_k_steps",
    hyperparameters=example_algorithm.TopKSteps,
    system="example",
    references=(),
    sparse=("upload",),
)


@dataclass(frozen=True)
class Forgetful(example_algorithm.TopKSteps):
    """A field that is no option."""

    hidden: int = 3


FORGETFUL = replace(ENTRY, hyperparameters=Forgetful)


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fedavg, "ENTRIES", (*fedavg.ENTRIES, ENTRY))
        yield


def test_it_takes_under_forty_lines():
    assert len(inspect.getsource(example_algorithm.top_k_steps).splitlines()) < 40


def test_it_keeps_the_contract():
    contract.check("tests.test_add_algorithm:ENTRY")


def test_a_card_that_says_what_is_not_so_breaks_it():
    with pytest.raises(AssertionError, match="FORGETFUL, says_what_can_be_set: Every field"):
        contract.check("tests.test_add_algorithm:FORGETFUL")


def test_it_is_on_the_command_line_with_its_help(capsys):
    assert ENTRY.name in registry.algorithms()
    assert main(["run", ENTRY.name, "--help"]) == 0
    assert "fraction of a step that is not sent" in capsys.readouterr().out
    assert main(["run", ENTRY.name, "--sparsity", "1.5"]) == 2
