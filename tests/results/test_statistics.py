"""Intervals, paired differences and costs, by values computed by hand."""

import math

import numpy as np
import pytest

from fedjax_sparse.results.statistics import cost_to_reach, estimate, paired


def test_an_interval_is_students():
    mean, margin = estimate([1.0, 2.0, 3.0])  # s = 1, t(2, 0.975) = 4.302653
    assert mean == 2
    assert margin == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_one_seed_has_no_interval_and_none_has_no_mean():
    assert estimate([0.5]).mean == 0.5
    assert math.isnan(estimate([0.5]).margin)
    assert np.isnan(estimate([])).all()


def test_what_one_seed_does_not_have_no_mean_has():
    assert np.isnan(estimate([1.0, math.nan])).all()


def test_differences_are_taken_seed_by_seed():
    mean, margin = paired(
        {0: 0.9, 1: 0.8, 5: 0.1}, {1: 0.7, 0: 0.7, 2: 0.3}
    )  # 0.2 and 0.1: t(1, 0.975) = 12.7062
    assert mean == pytest.approx(0.15)
    assert margin == pytest.approx(12.7062 * 0.05, rel=1e-5)


def test_the_cost_of_a_target_is_that_of_its_first_evaluation():
    score, cost = np.array([0.1, np.nan, 0.6, 0.5, 0.7]), np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    assert cost_to_reach(score, cost, 0.6, lower_is_better=False) == 20
    assert math.isnan(cost_to_reach(score, cost, 0.8, lower_is_better=False))
    assert cost_to_reach(score, cost, 0.1, lower_is_better=True) == 0
