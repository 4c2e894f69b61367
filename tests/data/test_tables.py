"""Tables: LIBSVM text, one's own npz files, signals by person."""

import gzip
import io
import re
from typing import Any

import numpy as np
import pytest

from fedjax_sparse.data import files, tables
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
        ("1 0:1", "file0, line 2: .*ascend from 1"),
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


def own(**changes):
    arrays = {
        "x_train": np.arange(6 * 4, dtype=np.float64).reshape(6, 4),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": np.ones((2, 4)),
        "y_test": np.array([2, 0]),
    }
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.fixture
def save(tmp_path):
    def save(**changes):
        np.savez(tmp_path / "own.npz", **own(**changes))
        return str(tmp_path / "own.npz")

    return save


def test_an_npz_of_features(save):
    data = load(save(client_train=np.array([1, 0, 1, 0, 1, 1])))
    assert (data.task, data.classes, data.x_train.dtype, data.y_train.dtype) == (
        "classification",
        3,
        np.float32,
        np.int32,
    )
    np.testing.assert_array_equal(data.x_train, own()["x_train"])
    assert data.client_train is not None
    assert data.client_train.tolist() == [1, 0, 1, 0, 1, 1]
    assert load(save()).client_train is None


def test_an_array_that_nobody_reads_is_noted(save):
    with pytest.warns(
        UserWarning, match=r"own\.npz: extra, x_valid not used \(known: x_train, .*client_train\)"
    ):
        load(save(extra=np.zeros(3), x_valid=np.zeros(2)))


def test_an_npz_of_images_is_normalised_by_its_training_set(save):
    images = np.zeros((6, 2, 2), np.uint8)
    images[:3] = 255
    data = load(save(x_train=images, x_test=images[:2]))
    assert data.x_train.shape == (6, 2, 2, 1)
    assert data.x_train.dtype == np.uint8
    assert (data.mean, data.std) == ((0.5,), (0.5,))


def test_an_npz_of_text_and_of_a_regression(save):
    x = np.array([[1, 2, 3]] * 6)
    y = np.array([[2, 3, -1]] * 6)
    data = load(save(x_train=x, y_train=y, x_test=x[:2], y_test=y[:2]))
    assert (data.task, data.classes, data.x_train.dtype) == ("text", 4, np.int32)
    data = load(save(y_train=np.linspace(0, 1, 6), y_test=np.array([0.5, 2.0])))
    assert (data.task, data.classes, data.y_train.dtype) == ("regression", 1, np.float32)


NAN = np.array([[1, np.nan, 2, np.inf]] * 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, r"own\.npz: lacks y_test \(holds x_test, x_train, y_train\)"),
        ({"x_train": NAN}, "x_train has 12 values that are NaN or infinite"),
        ({"x_train": np.full((6, 4), 1e300)}, "x_train has values beyond the range of float32"),
        ({"y_train": np.array([0, 1, np.nan, 0, 0, 0])}, "y_train has 1 values that are NaN"),
        ({"x_train": np.ones((5, 4))}, "x_train holds 5 examples, y_train 6"),
        ({"x_test": np.ones((2, 3))}, r"x_train holds float32 examples of shape \(4,\), x_test .* \(3,\)"),
        (
            {"x_train": np.ones((6, 0)), "x_test": np.ones((2, 0))},
            r"x_train has the shape \(6, 0\); allowed: examples that hold",
        ),
        ({"x_test": np.zeros((0, 4)), "y_test": np.zeros(0, int)}, "x_test holds 0 examples"),
        ({"x_train": np.ones(6)}, r"x_train is float64 of shape \(6,\); allowed"),
        ({"x_train": np.ones((6, 4), int)}, r"x_train is int64 of shape \(6, 4\); allowed"),
        ({"x_train": np.full((6, 4), "a")}, "x_train is <U1"),
        ({"x_train": np.ones((6, 4), complex)}, "x_train is complex128"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -2])}, r"has labels -2\.\.2; allowed: 0\.\.K-1, 1\.\.K"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, r"has labels -1\.\.2; allowed: 0\.\.K-1"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**40])}, "label 1.09951e\\+12 among 6 examples"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 6])}, "label 6 among 6 examples"),
        ({"y_test": np.array([0, 3])}, r"y_test has labels 0\.\.3; allowed: 0\.\.2"),
        ({"y_test": np.array([0.0, 1.5])}, "y_test has fractions"),
        (
            {"y_train": np.array(["a"] * 6)},
            "y_train is <U1 and y_test int64; allowed: integers, floats, or text",
        ),
        ({"y_train": np.zeros((6, 1), int)}, "y_train"),
        (
            {"y_train": np.array([0, 1, 2, None, 1, 2])},
            "y_train cannot be read: it holds Python objects",
        ),
        ({"client_train": np.array([0, 1, -1, 0, 1, 0])}, r"client_train has ids -1\.\.1"),
        ({"client_train": np.array([0, 1, 3, 0, 1, 0])}, r"client_train has ids 0\.\.3 for 3 clients"),
        ({"client_train": np.zeros(5, int)}, r"client_train is int32 of shape \(5,\); expected int32 \(6,\)"),
        ({"client_train": np.zeros(6)}, "client_train is float64, expected integers"),
    ],
)
def test_bad_npz_arrays_are_named(save, changes, message):
    path = save(**changes)
    with pytest.raises(UsageError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_npz_files_cut_short_damaged_or_of_another_kind_are_named(tmp_path, save):
    path = save()
    with open(path, "rb") as file:
        whole = file.read()
    npy = io.BytesIO()
    np.save(npy, np.ones(3))
    flipped = bytearray(whole)
    flipped[whole.index(b"NUMPY") + 150] ^= 1
    for content in (whole[: len(whole) // 2], b"", b"hello", npy.getvalue(), bytes(flipped)):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(UsageError, match=f"^{re.escape(path)}: ") as caught:
            load(path)
        assert "pickle" not in str(caught.value)
    with pytest.raises(UsageError, match=r"none\.npz: no such file"):
        load(str(tmp_path / "none.npz"))


def test_a_folder_and_a_name_that_no_file_can_have_are_named(tmp_path):
    (tmp_path / "own.npz").mkdir()
    for name, message in (
        ("own.npz", "is a folder, not a file"),
        ("a" * 300 + ".npz", "no such file: File name"),
    ):
        with pytest.raises(UsageError, match=message):
            load(str(tmp_path / name))
    with pytest.raises(UsageError, match="no such file"):
        load(f"{tmp_path}/\0.npz")


def test_what_would_inflate_beyond_memory_is_refused_before_it_does(tmp_path, monkeypatch, save):
    path = save()
    monkeypatch.setattr(files, "MOST_BYTES", 900)
    with pytest.raises(UsageError, match=r"own\.npz: holds more than"):
        load(path)
    monkeypatch.setattr(files, "MOST_BYTES", 20_000)
    np.savez_compressed(path, **own(x_train=np.zeros((6, 10_000))))
    monkeypatch.setattr(files, "read_member", None)  # nothing is decompressed
    with pytest.raises(UsageError, match=r"own\.npz: holds .* GiB, decompressed; allowed: at most"):
        load(path)
    (tmp_path / "own.svm").write_bytes(gzip.compress(b"1 1:1\n" * 10_000))
    with pytest.raises(UsageError, match=r"own\.svm: holds more than"):
        load(f"{tmp_path}/own.svm")


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
