"""Tables: LIBSVM text, one's own npz files, signals by person."""

import io
import re
from typing import Any

import numpy as np
import pytest

from fedjax_sparse.data import tables
from fedjax_sparse.data.datasets import load
from fedjax_sparse.data.files import Blob
from fedjax_sparse.errors import UsageError


def libsvm(*contents, features=None):
    blobs = [Blob(f"file{i}", content.encode()) for i, content in enumerate(contents)]
    return tables.parse_libsvm_set(blobs, features)


def test_libsvm_lines_become_dense_rows():
    arrays = libsvm("+1 1:0.5 3:-2 # a comment\n-1 \n\n+1 2:1e-3\n", "-1 4:7\n")
    np.testing.assert_array_equal(
        arrays["x_train"], np.array([[0.5, 0, -2, 0], [0, 0, 0, 0], [0, 1e-3, 0, 0]], np.float32)
    )
    np.testing.assert_array_equal(arrays["x_test"], np.array([[0, 0, 0, 7]], np.float32))
    assert arrays["y_train"].tolist() == [1, -1, 1]
    assert arrays["y_test"].tolist() == [-1]


def test_every_fifth_row_is_for_testing_where_there_is_no_test_file():
    arrays = libsvm("\n".join(f"{i % 2} 1:{i}" for i in range(12)))
    assert arrays["x_test"].ravel().tolist() == [4, 9]
    assert arrays["x_train"].ravel().tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]


def test_labels_are_whole_numbers_or_fractions():
    whole = libsvm("2 1:1\n1 1:1\n7 1:1\n", "7 1:1\n")
    assert whole["y_train"].dtype == np.int64
    assert whole["y_test"].tolist() == [7]
    assert libsvm("2.5 1:1\n1 1:1\n", "-3 1:1\n")["y_test"].dtype == np.float64


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2", "file0, line 2: .*could not convert"),
        ("1 1:x", "file0, line 2: .*could not convert"),
        ("one 1:1", "file0, line 2: .*could not convert"),
        ("1 1.5:1", "file0, line 2: .*invalid literal"),
        ("1 -1:1", "file0, line 2: .*ascend from 1, or from 0"),
        ("1 3:1 2:1", "file0, line 2: .*ascend from 1"),
        ("1 2:1 2:1", "file0, line 2: .*ascend from 1"),
        ("1 2:nan", "file0, line 2: .*not finite"),
        ("inf 2:1", "file0, line 2: .*not finite"),
        ("1 9:1", "file0: a feature has index 9, at most 8 is allowed"),
    ],
)
def test_bad_libsvm_lines_are_named(line, message):
    with pytest.raises(UsageError, match=message):
        libsvm(f"1 1:1\n{line}\n", features=8)


def test_indices_from_zero_are_those_of_scikit_learn():
    arrays = libsvm("1 0:5 2:6\n0 1:7\n", "1 2:8\n")
    assert arrays["x_train"].tolist() == [[5, 0, 6], [0, 7, 0]]
    assert arrays["x_test"].tolist() == [[0, 0, 8]]
    assert libsvm("1 1:5\n0 2:7\n", "1 0:8\n")["x_train"].tolist() == [[0, 5, 0], [0, 0, 7]]
    assert libsvm("1 0:1 7:1\n0 1:1\n", "1 1:1\n", features=8)["x_train"].shape == (2, 8)


def test_other_bad_libsvm_files_are_refused():
    with pytest.raises(UsageError, match="file0: holds no example"):
        libsvm("\n\n")
    with pytest.raises(UsageError, match="more than 8 GiB"):
        libsvm("1 1000000000:1\n0 1:1\n1 1:1\n0 1:1\n")


def test_a_libsvm_path_is_a_data_set_with_its_test_file(tmp_path):
    path = tmp_path / "own.svm"
    path.write_text("1 1:1\n-1 2:1\n" * 5)
    with pytest.warns(UserWarning, match="the labels -1, 1 are taken as classes 0..1"):
        data = load(str(path), cache_dir=tmp_path / "cache")
    assert (data.x_train.shape, data.x_test.shape) == ((8, 2), (2, 2))
    assert (data.task, data.classes, data.mean, data.std) == ("classification", 2, (0.0,), (1.0,))
    (tmp_path / "own.svm.t").write_text("-1 1:3\n")
    for _ in range(2):  # read, and from the cache
        with pytest.warns(UserWarning, match="the labels -1, 1 are taken as classes 0..1"):
            data = load(str(path), cache_dir=tmp_path / "cache")
    assert (data.x_train.shape, data.x_test.tolist(), data.y_test.tolist()) == ((10, 2), [[3, 0]], [0])
    asked: list[dict[str, Any]] = [{"task": "regression"}, {"leaning": "regression"}]
    for how in asked:
        data = load(str(path), cache_dir=tmp_path / "cache", **how)
        assert (data.task, data.classes, data.y_test.tolist()) == ("regression", 1, [-1])
    path.write_text("0.5 1:1\n")
    assert load(str(path), cache_dir=tmp_path / "cache").task == "regression"
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path}/none.svm: no such file")):
        load(f"{tmp_path}/none.svm")


def har(tmp_path, **changes):
    arrays = {
        "signals": np.arange(9 * 4 * 128, dtype=np.int16).reshape(9, 4, 128),
        "scale": np.arange(1, 10, dtype=np.float32) / 8,
        "activity": np.array([0, 5, 2, 3], np.uint8),
        "subject": np.array([7, 2, 1, 7], np.uint8),
    }
    file = io.BytesIO()
    np.savez(file, **(arrays | changes))
    return arrays, [Blob("har", file.getvalue())]


def test_har_is_scaled_and_divided_by_person(tmp_path):
    source, blobs = har(tmp_path)
    arrays = tables.UCI_HAR[0].parse(blobs)
    assert arrays["client_train"].tolist() == [1, 0, 1]  # subjects 7, 1, 7; subject 2 is for testing
    assert arrays["y_test"].tolist() == [5]
    assert arrays["x_train"].shape == (3, 128, 9)
    assert arrays["x_train"][1, 100, 4] == source["signals"][4, 2, 100] * source["scale"][4]
    with pytest.raises(UsageError, match=r"har: shapes .*expected \(9, M, 128\)"):
        tables.UCI_HAR[0].parse(har(tmp_path, subject=np.ones(3, np.uint8))[1])
