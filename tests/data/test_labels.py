"""Targets of a user's own: classes or numbers, and that a guess is said."""

import warnings

import numpy as np
import pytest

from fedjax_sparse.data.labels import as_targets
from fedjax_sparse.errors import UsageError


def silently(train, test, **how):
    """Targets about which there is nothing to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return as_targets("own", np.array(train), np.array(test), **how)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint8, np.uint64])
def test_integers_from_zero_are_classes_as_they_are(kind):
    train, test, task = silently(np.array([0, 2, 2], kind), np.array([1], kind))
    assert (train.dtype, train.tolist(), test.tolist(), task) == (np.int32, [0, 2, 2], [1], "classification")


def test_booleans_are_two_classes():
    train, _, task = silently([True, False], [True])
    assert (train.dtype, train.tolist(), task) == (np.int32, [1, 0], "classification")


def test_fractions_are_numbers():
    train, test, task = silently([0.5, 1], [2.0])
    assert (train.dtype, train.tolist(), test.tolist(), task) == (np.float32, [0.5, 1], [2], "regression")


@pytest.mark.parametrize(
    ("train", "classes", "labels"),
    [
        ([1, 3, 2], [0, 2, 1], "1, 2, 3"),
        ([1, -1, 1], [1, 0, 1], "-1, 1"),
        ([30, 10, 20], [2, 0, 1], "10, 20, 30"),
        (["dog", "cat", "dog"], [1, 0, 1], "cat, dog"),
        ([b"2", b"1", b"1"], [1, 0, 0], "b'1', b'2'"),
    ],
)
def test_other_labels_are_numbered_in_ascending_order_and_named(train, classes, labels):
    with pytest.warns(UserWarning, match=f"own: the labels {labels} are taken as classes"):
        found, test, task = as_targets("own", np.array(train), np.array(train[:1]))
    assert (found.tolist(), test.tolist(), task) == (classes, classes[:1], "classification")


@pytest.mark.parametrize(
    ("train", "task"),
    [
        ([0.0, 1.0, 2.0], "classification"),
        ([2.0, 1.0, 1.0], "classification"),
        ([-1.0, 1.0], "classification"),
        ([25.0, 90.0, 346.0], "regression"),
        ([0.0, 2.0], "regression"),
    ],
)
def test_whole_numbers_saved_as_floats_are_guessed_and_said(train, task):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert as_targets("own", np.array(train), np.array(train))[2] == task
    assert "y_train holds whole numbers saved as floats, taken as" in str(said[0].message)
    other = {"classification": "regression", "regression": "classification"}[task]
    assert f"--task {other} takes them otherwise" in str(said[0].message)


def test_the_option_decides_before_the_model_and_the_model_before_the_form():
    assert silently([0.0, 1.0], [1.0], leaning="classification")[0].dtype == np.int32
    assert silently([0.0, 1.0], [1.0], leaning="regression")[0].dtype == np.float32
    assert silently([0, 1], [1], leaning="regression")[2] == "regression"
    assert silently([0, 1], [1], task="classification", leaning="regression")[2] == "classification"
    assert silently([0.5, 1], [1.0], leaning="classification")[2] == "regression"
    with pytest.warns(UserWarning, match="whole numbers saved as floats"):
        as_targets("own", np.array([0.0, 1.0]), np.array([1.0]), leaning="text")


@pytest.mark.parametrize(
    ("train", "test", "how", "message"),
    [
        (
            [0.5, 1],
            [1.0],
            {"task": "classification"},
            "'classification' does not fit own: y_train has fractions",
        ),
        (["a"], ["a"], {"task": "regression"}, "'regression' does not fit own: y_train holds names"),
        ([1, 2], [3], {}, "y_test has the label 3, which is not among those of y_train"),
        ([0, 1], [2], {}, r"y_test has labels 0\.\.2; allowed: 0\.\.1"),
        ([0, 9], [0], {}, "y_train has the label 9 among 2 examples"),
        ([0, -1], [0], {}, r"has labels -1\.\.0; allowed"),
        ([0, 1], [0.5], {}, "y_test has fractions"),
        ([0, 1], ["a"], {}, "y_train is int64 and y_test <U1; allowed: integers, floats, or text, in both"),
        ([0j], [0j], {}, "y_train is complex128"),
        ([np.nan, 1], [0.0], {}, "y_train has 1 values that are NaN or infinite"),
    ],
)
def test_what_fits_nothing_is_named(train, test, how, message):
    with pytest.raises(UsageError, match=message):
        silently(train, test, **how)
