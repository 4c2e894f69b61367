"""Verdicts: what an interval decides, what it leaves open, and how that is said."""

import pytest

from fedjax_sparse.reproduction import verdicts
from fedjax_sparse.reproduction.verdicts import Verdict, above, points_apart
from fedjax_sparse.results.statistics import Estimate

NAN = float("nan")


@pytest.mark.parametrize(
    ("mean", "margin", "threshold", "answer"),
    [
        (0.02, 0.01, 0.0, True),
        (0.02, 0.03, 0.0, None),
        (-0.02, 0.03, 0.0, None),
        (-0.05, 0.03, 0.0, False),
        (-0.005, 0.004, -0.01, True),
        (0.02, NAN, 0.0, True),  # one seed
        (0.0, NAN, 0.0, False),
        (NAN, NAN, 0.0, None),
    ],
)
def test_an_interval_on_both_sides_of_the_threshold_decides_nothing(mean, margin, threshold, answer):
    assert above(Estimate(mean, margin), threshold) is answer


def test_so_many_times_a_reference_that_may_be_zero():
    assert verdicts.times({0: 500.0, 1: 600.0}, {0: 0.0, 1: 2.0}, 200) is None
    assert verdicts.times({0: 500.0, 1: 600.0}, {0: 0.0, 1: 0.5}, 200) is True
    assert verdicts.times({0: 500.0}, {0: 3.0}, 200) is False


def test_a_claim_of_several_parts_fails_with_any_and_is_open_with_any_other():
    holds, is_open, fails = Verdict(True, "a"), Verdict(None, "b"), Verdict(False, "c")
    assert verdicts.together([holds, holds]) == (True, "a; a")
    assert verdicts.together([holds, is_open]) == (None, "a; b")
    assert verdicts.together([holds, is_open, fails]) == (False, "a; b; c")


def test_of_rivals_the_nearest_is_named_and_every_other_that_is_not_beaten():
    apart = {"far": Estimate(0.2, 0.1), "wide": Estimate(0.1, 0.2), "near": Estimate(0.03, 0.01)}
    assert verdicts.beats(apart) == (None, "3.0 ± 1.0 points above near, 10.0 ± 20.0 points above wide")
    assert verdicts.beats({"far": apart["far"]}).holds is True
    assert verdicts.beats({"level": Estimate(-0.002, 0.003)}, -0.01).holds is True


def test_numbers_in_words():
    assert points_apart(Estimate(-0.0131, NAN)) == "1.3 points below"
    assert verdicts.factor(Estimate(1.957, 0.049)) == "1.96 ± 0.05 times"
