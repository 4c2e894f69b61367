"""Declared options and the hyper-parameters made of them."""

import dataclasses
import re
import typing

import pytest

from fedjax_sparse.config import bibliography, registry, run_config
from fedjax_sparse.config.cards.fedsparsify import FedSparsifyGlobal
from fedjax_sparse.config.options import Options, Range, declared_options, option, type_name
from fedjax_sparse.config.sections import Machine
from fedjax_sparse.errors import UsageError

ENTRIES = list(registry.algorithms().values())


@dataclasses.dataclass(frozen=True)
class Sample(Options):
    count: int = option(3, "a number", allowed=Range(low=1))
    share: float = option(0.5, "a fraction", allowed=Range(low=0, high=1, high_open=True), paper="0.5")
    rate: float | None = option(None, "a rate", allowed=Range(low=0, low_open=True))
    kind: str = option("a", "a name")
    switch: bool = option(False, "a switch")


def test_values_in_range_are_taken_as_they_are():
    sample = Sample(count=1, share=0, rate=2, switch=True)
    assert sample == Sample(1, 0.0, 2.0, "a", True)
    assert isinstance(sample.share, float)
    assert isinstance(sample.rate, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.0}, "--share = 1.0 is out of range; allowed: [0, 1)"),
        ({"share": float("nan")}, "--share = nan is not valid; allowed: a finite number"),
        ({"rate": float("inf")}, "--rate = inf is not valid; allowed: a finite number"),
        ({"rate": 0}, "--rate = 0.0 is out of range; allowed: (0, inf)"),
        ({"count": 0}, "--count = 0 is out of range; allowed: [1, 2147483647]"),
        ({"count": 2.0}, "--count = 2.0 is not valid; allowed: int"),
        ({"count": True}, "--count = True is not valid; allowed: int"),
        ({"count": None}, "--count = None is not valid; allowed: int"),
        ({"share": "x"}, "--share = 'x' is not valid; allowed: float"),
        ({"switch": 1}, "--switch = 1 is not valid; allowed: bool"),
        ({"kind": 1}, "--kind = 1 is not valid; allowed: str"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(values, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        Sample(**values)


def test_a_wrong_choice_names_the_nearest():
    with pytest.raises(UsageError, match="unknown --scope 'kernel'; did you mean 'kernels'"):
        FedSparsifyGlobal(scope="kernel")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Range(0, 1, False, True), "[0, 1)"),
        (Range(low=0, low_open=True), "(0, inf)"),
        (Range(high=5), "(-inf, 5]"),
    ],
)
def test_ranges_read_as_mathematics(allowed, text):
    assert str(allowed) == text


def test_options_know_how_they_are_typed():
    count, share, rate, *_ = declared_options(Sample)
    assert (count.flag, share.paper, type_name(rate)) == ("--count", "0.5", "float")
    (chunk,) = [o for o in declared_options(Machine) if o.name == "chunk"]
    assert type_name(chunk) == "int | auto"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_complete(entry):
    assert entry.hyperparameters() == entry.hyperparameters()  # the defaults are allowed
    assert dataclasses.is_dataclass(entry.hyperparameters)
    assert callable(registry.load(entry))
    assert bibliography.bibtex(entry).count("@") >= len(entry.references) > 0
    assert entry.sparse is not None
    assert set(entry.sparse) <= {"server", "upload", "deployed", "personal"}
    assert all((entry.state, entry.up, entry.down))
    assert "\n" not in entry.summary


@pytest.mark.parametrize(
    "options", [*run_config.SECTIONS.values(), *(entry.hyperparameters for entry in ENTRIES)]
)
def test_an_option_that_may_be_none_is_none_unless_stated(options):
    # TOML has no None: a missing key is read as the default.
    may_be_none = [o for o in declared_options(options) if type(None) in typing.get_args(o.annotation)]
    assert [o.default for o in may_be_none] == [None] * len(may_be_none)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_overrides_are_options_of_a_run(entry):
    configured = run_config.values(run_config.configure(entry.name))
    assert {name: configured[name] for name in entry.overrides} == dict(entry.overrides)


def test_names_are_unique_and_every_reference_is_used():
    tables = [entry.name for card in registry._cards() for entry in card.ENTRIES]
    assert len(tables) == len(set(tables)) == len(ENTRIES)
    assert {key for entry in ENTRIES for key in entry.references} == set(bibliography.records())


def test_an_unknown_algorithm_names_the_nearest():
    with pytest.raises(UsageError, match="unknown algorithm 'fedagv'; did you mean 'fedavg'"):
        registry.entry("fedagv")
