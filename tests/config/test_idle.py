"""Options without effect and schedules that do not reach their end: each is one note, and nothing else is."""

import pytest

from fedjax_sparse.config import idle, registry, run_config
from fedjax_sparse.config.options import declared_options


def notes(algorithm: str = "fedavg", **stated) -> list[str]:
    return [*idle.notes(run_config.values(run_config.configure(algorithm, **stated)), stated)]


@pytest.mark.parametrize(
    ("algorithm", "stated", "note"),
    [
        ("fedavg", {"alpha": 0.1}, "--alpha has no effect with --partition iid"),
        (
            "fedavg",
            {"partition": "dirichlet", "classes_per_client": 3},
            "--classes-per-client has no effect with --partition dirichlet",
        ),
        ("fedavg", {"client_nesterov": True}, "--client-nesterov has no effect with --client-momentum 0.0"),
        ("fedavg", {"server_momentum": 0.5}, "--server-momentum has no effect with --server-opt sgd"),
        (
            "fedavg",
            {"server_opt": "momentum", "server_tau": 0.1},
            "--server-tau has no effect with --server-opt momentum",
        ),
        (
            "fedavg",
            {"server_opt": "adagrad", "server_decay": 0.9},
            "--server-decay has no effect with --server-opt adagrad",
        ),
        ("ssfl", {"clip_living": True}, "--clip-living has no effect with --clip-norm none"),
        (
            "sparsyfed",
            {"activation_pruning": False, "cached_thresholds": True},
            "--cached-thresholds has no effect with --activation-pruning false",
        ),
        (
            "fedavg",
            {"rounds": 30, "lr_schedule": "step:0.1@20,30"},
            "--lr-schedule step:0.1@20,30 has no effect after round 30, the last of --rounds 30",
        ),
        (
            "fedavg",
            {"rounds": 500, "lr_schedule": "exponential:0.01@1000"},
            "--lr-schedule exponential:0.01@1000 ends at a factor of 0.1 with --rounds 500",
        ),
        (
            "fedavg",
            {"local_epochs": 2, "epoch_lr_schedule": "step:0.1@5"},
            "--epoch-lr-schedule step:0.1@5 has no effect after round 5, the last of --local-epochs 2",
        ),
    ],
)
def test_what_has_no_effect_is_noted(algorithm, stated, note):
    assert notes(algorithm, **stated) == [note]


@pytest.mark.parametrize(
    ("algorithm", "stated"),
    [
        ("fedavg", {}),
        ("ssfl", {}),  # its own default of clip_living is not asked for
        ("fedavg", {"partition": "dirichlet", "alpha": 0.1}),
        ("fedavg", {"partition": "power-law", "alpha": 1.0}),
        ("fedavg", {"client_nesterov": True, "client_momentum": 0.9}),
        ("fedavg", {"server_momentum": 0.5, "server_opt": "adam"}),
        ("fedavg", {"server_opt": "yogi-tff", "server_decay": 0.9, "server_tau": 0.1}),
        ("fedavg", {"rounds": 30, "lr_schedule": "step:0.1@20,29"}),
        ("fedavg", {"rounds": 700, "lr_schedule": "exponential:0.02@500"}),
        ("fedavg", {"rounds": 30, "lr_schedule": "cosine"}),
    ],
)
def test_what_has_an_effect_is_not(algorithm, stated):
    assert not notes(algorithm, **stated)


def test_every_option_named_is_one():
    cards = {entry.hyperparameters for entry in map(registry.entry, registry.algorithms())}
    known = {option.name for card in cards for option in declared_options(card)}
    known |= set(run_config.values(run_config.configure("fedavg")))
    assert known >= {*idle.NEEDS, *(other for other, _ in idle.NEEDS.values())}
