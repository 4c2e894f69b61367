"""Sweeps as values: their settings, their file, and what is refused before anything starts."""

import tomllib

import pytest
import tomli_w

from fedjax_sparse.config import sweep as sweeps
from fedjax_sparse.config.sweep import Sweep
from fedjax_sparse.errors import UsageError

GRID = {"client_lr": (0.1, 0.3), "mu": (0, 0.1)}
FILE = """
[sweep]
algorithms = ["fedprox", "fedsparsify-global"]
sparsity = 0.8
validation = 0.2

[grid]
client_lr = [0.1, 0.3]
mu = [0, 0.1]

[training]
rounds = 3

[algorithm.fedsparsify-global]
batch_size = 4
"""


def in_file(text: str) -> Sweep:
    return Sweep(**sweeps.values_of(tomllib.loads(text)))


def test_an_algorithm_has_every_combination_of_what_it_has_an_option_for():
    trials = Sweep(("fedprox", "fedsparsify-global"), grid=GRID, sparsity=0.8).trials()
    assert [dict(trial.values) for trial in trials["fedprox"]] == [
        {"client_lr": 0.1, "mu": 0.0},
        {"client_lr": 0.1, "mu": 0.1},
        {"client_lr": 0.3, "mu": 0.0},
        {"client_lr": 0.3, "mu": 0.1},
    ]
    sparse = trials["fedsparsify-global"]
    assert [(t.config.training.client_lr, getattr(t.config.hyper, "sparsity", None)) for t in sparse] == [
        (0.1, 0.8),
        (0.3, 0.8),
    ]


def test_what_has_no_effect_on_an_algorithm_is_not_searched():
    trials = Sweep(("fedavgm",), grid={"client_lr": (0.1,), "server_lr": (0.5, 1)}).trials()
    assert [dict(trial.values) for trial in trials["fedavgm"]] == [{"client_lr": 0.1}]


def test_a_file_is_a_whole_sweep_and_comes_back_from_its_tables():
    asked = in_file(FILE)
    assert in_file(tomli_w.dumps(sweeps.to_toml_dict(asked))) == asked
    assert {t.config.training.batch_size for t in asked.trials()["fedsparsify-global"]} == {4}


def test_winners_stand_in_tables_of_algorithms_with_what_these_have_apart():
    asked = in_file(FILE)
    table = sweeps.winners_dict(asked, {"fedsparsify-global": {"client_lr": 0.3}})
    won = sweeps.winners_of(tomllib.loads(tomli_w.dumps(table)))
    assert won == {"fedsparsify-global": {"client_lr": 0.3, "batch_size": 4}}
    with pytest.raises(UsageError, match=r"no winners\.toml of a sweep"):
        sweeps.winners_of({"algorithm": {}})


def test_a_grid_is_read_from_text():
    assert sweeps.grid_of("client-lr=0.03,1/nesterov=true,false/variant=paper") == {
        "client_lr": (0.03, 1),
        "nesterov": (True, False),
        "variant": ("paper",),
    }
    assert sweeps.grid_of("none") == {}


@pytest.mark.parametrize("text", ["client-lr", "client-lr=", "=0.1", "", "client-lr=0.1//mu=1"])
def test_a_text_that_is_no_grid_is_refused(text):
    with pytest.raises(UsageError, match="is not valid; allowed: options with values"):
        sweeps.grid_of(text)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"grid": {}}, "name what is searched"),
        ({"grid": {"client_lr": ()}}, "has no values"),
        ({"grid": {"client_lr": (0.1, 0.1)}}, "client_lr 0.1 is named 2 times"),
        ({"grid": {"rounds": (1, 2)}}, "rounds is a condition that all share"),
        ({"grid": {"cohort_size": (1, 2)}}, "cohort_size is a condition that all share"),
        ({"grid": {"clientlr": (0.1,)}}, "unknown option of --grid 'clientlr'; did you mean 'client_lr'"),
        ({"grid": {"client_lr": (-1.0,)}}, "fedprox: --client-lr = -1.0 is out of range"),
        ({"grid": {"client_lr": tuple(n / 2000 for n in range(1, 1002))}}, "1,001 runs of 1 seeds are 1,001"),
        ({"shared": {"seeds": "many"}}, "--seeds = 'many' is not valid"),
        ({"validation": 1.0}, "--validation = 1.0 is out of range"),
        ({"shared": {"state_store": "host"}}, "leave out --state-store"),
        ({"algorithms": ("fedprox", "fedavg"), "grid": {"mu": (0.1,)}}, "of which fedavg has none"),
        ({"algorithms": ("sparsyfed",), "grid": {"sparsity": (0.9,)}}, "state --sparsity"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(fields, words):
    with pytest.raises(UsageError) as refused:
        Sweep(**{"algorithms": ("fedprox",), "grid": GRID, **fields}).trials()
    assert words in str(refused.value)
