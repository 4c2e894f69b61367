"""Test images of each client: their mix of classes, and the mean accuracy that they stand for."""

import numpy as np
import pytest

from fedjax_sparse.config import run_config
from fedjax_sparse.data import client_test
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.building import build
from fedjax_sparse.simulation import driver

LABELS = np.repeat(np.arange(4, dtype=np.int32), 30)
HOLDINGS = np.array([[5, 5, 0, 0], [0, 0, 0, 7], [1, 2, 3, 4]], np.int32)


def by_class(rows):
    """int[N, 4]: how many test images of each class each client has."""
    return np.array([[np.sum(LABELS[own[own >= 0]] == each) for each in range(4)] for own in rows])


def test_clients_mix_classes_as_in_training():
    rows = client_test.rows(LABELS, HOLDINGS, 10, seed=0)
    np.testing.assert_array_equal(by_class(rows), 10 * HOLDINGS / HOLDINGS.sum(1, keepdims=True))
    assert rows.dtype == np.int32
    assert all(len(np.unique(own)) == 10 for own in rows)


def test_shares_of_a_class_are_rounded_upwards():
    """Thirds of ten images are four of each class."""
    rows = client_test.rows(LABELS, np.array([[1, 1, 1, 0], [0, 0, 0, 1]]), 10, seed=0)
    np.testing.assert_array_equal(by_class(rows), [[4, 4, 4, 0], [0, 0, 0, 10]])
    assert (rows[1, 10:] == -1).all()


def test_a_class_that_is_too_small_is_taken_whole_and_one_that_is_missing_leaves_its_client_out():
    few = LABELS[LABELS > 0]  # no test image of class 0
    rows = client_test.rows(few, np.array([[9, 0, 0, 0], [0, 0, 0, 9]]), 50, seed=0)
    assert (rows[0] == -1).all()
    np.testing.assert_array_equal(np.sort(rows[1]), np.flatnonzero(few == 3))


def test_draws_differ_by_client_and_seed():
    one, other = (client_test.rows(LABELS, np.array([[1, 0, 0, 0]] * 2), 15, seed) for seed in (0, 1))
    assert np.any(np.sort(one) != np.sort(other))
    assert set(one[0]) != set(one[1])


def test_rows_of_whatever_clients_predict_where_examples_have_no_classes():
    rows = client_test.automatic_rows(np.zeros((120, 2)), np.array([3, 4]), seed=0)
    assert rows.shape == (2, client_test.SIZE)
    assert set(rows[0]) != set(rows[1])


def test_a_run_reports_it_for_both_of_sparsyfeds_models():
    made = run_config.configure(
        "sparsyfed", client_test_size=20, rounds=4, clients=6, cohort_size=3, partition="dirichlet"
    )
    built = build(made)
    ((_, row),) = driver.simulate(built.algorithm, built.setting, eval_every=4).rows
    assert 0 < row["client_test_accuracy"] <= 1
    assert 0 < row["server_client_test_accuracy"] <= 1
    assert row["client_test_accuracy"] != row["global_test_accuracy"]


@pytest.mark.parametrize(("size", "message"), [(0, r"--client-test-size = 0"), (121, r"allowed: \[1, 120\]")])
def test_sizes_out_of_range_are_refused(size, message):
    with pytest.raises(UsageError, match=message):
        client_test.rows(LABELS, HOLDINGS, size, seed=0)


def test_problems_without_classes_are_refused():
    with pytest.raises(UsageError, match="needs one class for each example"):
        build(run_config.configure("fedavg", dataset="synthetic/linear", model="linear", client_test_size=5))
