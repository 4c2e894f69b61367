"""Comparisons as values: their runs, their file, and what is refused before anything starts."""

import tomllib

import pytest
import tomli_w

from fedjax_sparse.config import comparison as comparisons
from fedjax_sparse.config.comparison import Comparison
from fedjax_sparse.errors import UsageError

FILE = """
[comparison]
algorithms = ["fedavg", "sparsyfed"]
sparsities = [0.8, 0.95]
reference = "fedavg"

[training]
local_steps = 5
client_lr = 0.2

[algorithm.sparsyfed]
local_epochs = 1
client_lr = 0.5
"""


def in_file(text: str) -> Comparison:
    return Comparison(**comparisons.values_of(tomllib.loads(text)))


def test_algorithms_without_sparsity_run_once_and_the_others_at_each():
    cases = Comparison(("fedavg", "fedsparsify-global"), (0.8, 0.95), shared={"seeds": 2}).cases()
    assert [(case.name, case.sparsity) for case in cases] == [
        ("fedavg", None),
        ("fedsparsify-global-0.8", 0.8),
        ("fedsparsify-global-0.95", 0.95),
    ]
    assert [getattr(case.config.hyper, "sparsity", None) for case in cases] == [None, 0.8, 0.95]
    assert {case.config.run.seeds for case in cases} == {2}


def test_without_sparsities_each_has_its_own():
    cases = Comparison(("fedavg", "fedsparsify-global")).cases()
    assert [case.name for case in cases] == ["fedavg", "fedsparsify-global"]


def test_a_card_keeps_its_cohort_unless_one_is_stated():
    names = ("fedavg", "scaffnew")
    assert [case.config.cohorts.cohort_size for case in Comparison(names).cases()] == [10, "all"]
    stated = Comparison(names, shared={"cohort_size": 5})
    assert [case.config.cohorts.cohort_size for case in stated.cases()] == [5, 5]


def test_a_file_states_what_is_shared_and_what_is_one_algorithms_own():
    dense, *sparse = in_file(FILE).cases()
    assert (dense.config.training.local_steps, dense.config.training.client_lr) == (5, 0.2)
    assert all(case.config.training.local_steps is None for case in sparse)
    assert all(case.config.training.client_lr == 0.5 for case in sparse)


def test_a_comparison_survives_its_file():
    comparison = in_file(FILE)
    again = in_file(tomli_w.dumps(comparisons.to_toml_dict(comparison)))
    assert again == comparison
    assert again.cases() == comparison.cases()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"algorithms": ()}, "name the algorithms"),
        ({"algorithms": ("fedavg", "fedavgg")}, "did you mean 'fedavg'"),
        ({"algorithms": ("fedavg", "flare", "fedavg")}, "fedavg is named 2 times"),
        ({"algorithms": ("runs/a", "fedavg")}, "plot draws figures"),
        ({"algorithms": ("flare",), "sparsities": (0.9, 0.9)}, "0.9 is named 2 times"),
        ({"algorithms": ("sparsyfed",), "sparsities": (1.5,)}, "allowed: [0, 1)"),
        ({"algorithms": ("sparsyfed",), "sparsities": (float("nan"),)}, "a finite number"),
        ({"algorithms": ("fedavg",), "sparsities": (0.9,)}, "no effect on fedavg"),
        ({"algorithms": ("fedavg",), "reference": "flare"}, "unknown reference"),
        ({"algorithms": ("fedavg",), "shared": {"batch_size": 0}}, "fedavg: --batch-size"),
        ({"algorithms": ("fedavg",), "own": {"flare": {}}}, "unknown algorithm of"),
        ({"algorithms": ("fedavg",), "own": {"fedavg": {"seed": 3}}}, "the same for all algorithms"),
        ({"algorithms": ("fedavg",), "own": {"fedavg": {"rounds": 3}}}, "the same for all algorithms"),
        (
            {"algorithms": ("fedavg",), "own": {"fedavg": {"client_lr": -1.0}}},
            "[algorithm.fedavg]: --client-lr",
        ),
        (
            {"algorithms": ("sparsyfed",), "sparsities": (0.9,), "own": {"sparsyfed": {"sparsity": 0.5}}},
            "keep one",
        ),
        ({"algorithms": ("fedavg", "flare"), "shared": {"seeds": 501}}, "are 1,002 trainings"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, words):
    with pytest.raises(UsageError) as refusal:
        Comparison(**arguments).cases()
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("comparison = 3", "a table [comparison]"),
        ("[comparison]\nalgorithm = 'fedavg'", "unknown option of [comparison]"),
        ("[comparison]\nalgorithms = 'fedavg'", "a list of names"),
        ("[comparison]\nsparsities = ['0.9']", "a list of numbers"),
        ("[algorithm]\nname = 'fedavg'", "tables [algorithm.NAME]"),
        ("[trainning]\nrounds = 3", "unknown table"),
    ],
)
def test_what_is_no_comparison_is_refused(text, words):
    with pytest.raises(UsageError) as refusal:
        comparisons.values_of(tomllib.loads(text))
    assert words in str(refusal.value)


def test_sparsities_are_read_from_text():
    assert comparisons.sparsities_of("0.8,0.95") == (0.8, 0.95)
    assert comparisons.sparsities_of("none") == ()
    with pytest.raises(UsageError, match="numbers"):
        comparisons.sparsities_of("0.8;0.9")
