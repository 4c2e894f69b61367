"""Runs made longer: as if they had been so from the beginning, or refused with the reason."""

import json
import re
from pathlib import Path

import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.lengthening import lengthened

SMALL = ("--clients", "6", "--cohort-size", "3", "--model", "softmax", "--eval-every", "2")


def rows(out: Path) -> list[dict]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name != "wall_seconds"} for line in lines
    ]


def test_a_finished_run_goes_on_as_if_it_had_been_longer(tmp_path):
    flags = (*SMALL, "--seeds", "2", "--lr-schedule", "decay:0.9", "--no-figures")
    for name, rounds in (("short", "4"), ("long", "6")):
        assert main(["run", "fedavg", *flags, "--rounds", rounds, "--out", str(tmp_path / name)]) == 0
    short = tmp_path / "short"
    assert main(["resume", str(short), "--rounds", "6"]) == 0
    for seed in ("seed_0", "seed_1"):
        assert rows(short / seed) == rows(tmp_path / "long" / seed)
        assert "rounds = 6" in (short / seed / "config.toml").read_text()
    assert json.loads((short / "manifest.json").read_text())["rounds_before"] == [4]
    assert main(["resume", str(short)]) == 0  # its older checkpoint is of four rounds, the newer one of six


@pytest.mark.parametrize(
    ("algorithm", "options", "reason"),
    [
        ("fedsparsify-global", {}, "what fedsparsify-global prunes in a round depends on how many rounds"),
        ("fedavg", {"lr_schedule": "cosine"}, "the learning rate of --lr-schedule cosine depends on"),
        ("fedavg", {"lr_schedule": "exponential:0.1"}, "the learning rate of --lr-schedule exponential:0.1"),
    ],
)
def test_what_depends_on_the_length_is_refused_with_the_reason(algorithm, options, reason):
    config = configure(algorithm, rounds=20, **options)
    with pytest.raises(UsageError, match=reason):
        lengthened(config, 40)
    assert lengthened(config, 20) == config


@pytest.mark.parametrize("schedule", ["constant", "step:0.1@10,30", "decay:0.99", "exponential:0.1@500"])
def test_what_does_not_is_lengthened(schedule):
    config = configure("flare", rounds=20, lr_schedule=schedule)
    assert lengthened(config, 40).training.rounds == 40
    with pytest.raises(UsageError, match=re.escape("--rounds = 19 is out of range; allowed: [20, inf)")):
        lengthened(config, 19)
