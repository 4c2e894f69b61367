"""Runs made longer: as if they had been so from the beginning, or refused with the reason."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import registry
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.data import population as populations
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.lengthening import lengthened
from fedjax_sparse.types import State
from tests import toy

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


def round_of(name: str, rounds: int) -> tuple[str, list[Any]]:
    """An algorithm's round as a program of `rounds`, written as R, and the arrays in it."""
    setting = toy.setting(jnp.float32, cohort_size=2)
    algorithm = toy.algorithm(name, setting._replace(federation=setting.federation._replace(rounds=rounds)))
    variables = setting.model.init(jax.random.key(0))
    everyone = jnp.arange(2)
    cohort = populations.gather(
        jax.tree.map(jnp.asarray, setting.population), everyone, jnp.ones_like(everyone, bool)
    )
    client = jax.vmap(lambda key: algorithm.init_client(variables, key))(
        jax.random.split(jax.random.key(1), 2)
    )
    state = State(algorithm.init(variables, jax.random.key(2)), client)
    program = jax.make_jaxpr(algorithm.round)(state, cohort, jnp.int32(1), jax.random.key(3))
    text = re.sub(r"0x[0-9a-f]+", "", str(program.jaxpr))
    return text.replace(str(rounds + 1), "R+1").replace(str(rounds), "R"), list(program.consts)


@pytest.mark.parametrize("name", sorted(registry.algorithms()))
def test_cards_say_whose_rounds_depend_on_the_length(name):
    """Traced for two lengths: the same program, and tables of which one begins as the other."""
    (one, short), (other, long) = round_of(name, 1009), round_of(name, 2003)
    same = [np.array_equal(a, b[: len(a)] if np.ndim(b) else b) for a, b in zip(short, long, strict=True)]
    follows = one != other or not all(same)
    assert registry.entry(name).follows_length == follows
