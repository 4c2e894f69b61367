"""Learning rates over rounds against their closed forms."""

import math

import pytest

from fedjax_sparse.config.lr_schedule import factors
from fedjax_sparse.errors import UsageError


def test_constant():
    assert factors("constant", 3) == [1.0, 1.0, 1.0]


def test_exponential_ends_at_its_factor():
    # 0.5 -> 0.01 over T = 700 rounds: 0.5 * (0.01 / 0.5) ** (t / T) is 0.497213 in round 1.
    rates = [0.5 * factor for factor in factors("exponential:0.02", 700)]
    assert rates[0] == pytest.approx(0.497213, abs=5e-7)
    assert rates[-1] == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("exponential:0.02", {1: 0.497213, 100: 0.285930, 350: 0.070711, 700: 0.01}),
        ("exponential:0.02@700", {1: 0.497213, 100: 0.285930, 350: 0.070711, 700: 0.01}),
        ("exponential:0.02@500", {1: 0.496103, 100: 0.228653, 350: 0.032336, 500: 0.01, 700: 0.002091}),
    ],
)
def test_exponential_decay_over_a_horizon(schedule, expected):
    """0.5 exp((t / H) ln(0.01 / 0.5)), as SparsyFed trains for 700 rounds (arXiv 2504.05153)."""
    rates = {t: 0.5 * factor for t, factor in enumerate(factors(schedule, 700), start=1)}
    assert {t: round(rates[t], 6) for t in expected} == expected


def test_decay_starts_after_the_first_round():
    assert factors("decay:0.5", 4) == [1.0, 0.5, 0.25, 0.125]


def test_steps_apply_after_their_round():
    assert factors("step:0.1@1,3", 5) == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01], rel=1e-12)


def test_cosine():
    assert factors("cosine", 4) == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    assert factors("cosine:0.5", 2) == pytest.approx([1.0, 0.75])


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "linear",
        "constant:1",
        "decay",
        "decay:x",
        "decay:1e",
        "decay:0.5@3",
        "exponential:0.5@",
        "exponential:0.5@2,3",
        "step:0.1",
        "step:0.1@",
        "cosine:",
    ],
)
def test_what_is_no_schedule_is_refused_with_the_grammar(schedule):
    with pytest.raises(
        UsageError, match=r"is not valid; allowed: constant, exponential:F, exponential:F@H, decay:F"
    ):
        factors(schedule, 10)


@pytest.mark.parametrize("schedule", ["decay:0", "decay:1.5", "exponential:-0.1", "cosine:2"])
def test_factors_out_of_range_are_refused(schedule):
    with pytest.raises(UsageError, match=r"is out of range; allowed: \(0, 1\]"):
        factors(schedule, 10)


def test_a_horizon_of_no_rounds_is_refused():
    with pytest.raises(UsageError, match=r"H in --lr-schedule exponential:0.5@0 = 0 is out of range"):
        factors("exponential:0.5@0", 10)
