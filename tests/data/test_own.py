"""Arrays of one's own: taken as they are meant, or refused by the name of the fault."""

import gzip
import io
import re
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest

from fedjax_sparse.data import files
from fedjax_sparse.data import own as own_arrays
from fedjax_sparse.data.datasets import load
from fedjax_sparse.errors import UsageError


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
    with pytest.warns(UserWarning, match=r"own\.npz: extra, x_valid not used"):
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
        (
            {"x_train": np.ones((6, 4), int)},
            r"x_train is int64 of shape \(6, 4\), and its y is not; allowed: features as floats",
        ),
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
        ({"y_train": np.zeros((6, 2), int)}, r"y_train is int64 of shape \(6, 2\), and not one-hot"),
        ({"y_train": np.full((6, 2), 0.5)}, r"y_train is float64 of shape \(6, 2\), and not one-hot"),
        ({"y_train": np.zeros((3, 4), int)}, r"y_train is .*; allowed: one label for each of 6 examples"),
        (
            {"x_train": np.full((6, 2, 2), -1, np.int8)},
            r"x_train has integers -1\.\.-1; allowed: 0\.\.255, or",
        ),
        ({"x_train": np.full((6, 2, 2), 256)}, r"x_train has integers 256\.\.256; allowed: 0\.\.255"),
        (
            {"x_train": np.ones((6, 4), np.uint8)},
            r"x_train is uint8 of .*; allowed: .* images as \[M, H, W\]",
        ),
        ({"x_train": np.zeros((6, 4), "V2")}, r"x_train is \|V2 of shape"),
        (
            {"y_train": np.array([0, 1, 2, None, 1, 2])},
            "y_train cannot be read: it holds Python objects",
        ),
        ({"client_train": np.array([0, 1, -1, 0, 1, 0])}, "client_train has the negative id -1"),
        ({"client_train": np.zeros(5, int)}, r"client_train is int32 of shape \(5,\); expected int32 \(6,\)"),
        ({"client_train": np.zeros(6)}, "client_train is float64, expected integers or text"),
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
    monkeypatch.setattr(own_arrays, "read_member", None)  # nothing is decompressed
    with pytest.raises(UsageError, match=r"own\.npz: holds .* GiB, decompressed; allowed: at most"):
        load(path)
    (tmp_path / "own.svm").write_bytes(gzip.compress(b"1 1:1\n" * 10_000))
    with pytest.raises(UsageError, match=r"own\.svm: holds more than"):
        load(f"{tmp_path}/own.svm")


# As other libraries save them.

LABELS = np.array([0, 1, 2, 0, 1, 2])
PIXELS = np.arange(6 * 5 * 5).reshape(6, 5, 5) % 256


def loaded(save, note="", **changes):
    """The data set that is loaded, and said about it what is expected, or nothing."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = load(save(**changes))
    found = [str(each.message) for each in said]
    assert len(found) == (2 if note else 0), found  # of training and of testing
    assert all(note in each for each in found)
    return data


@pytest.mark.parametrize(
    ("images", "shape", "note"),
    [
        (PIXELS.astype(np.uint8), (5, 5, 1), ""),
        (PIXELS.astype(np.uint8)[..., None], (5, 5, 1), ""),
        (
            PIXELS.astype(np.int64),
            (5, 5, 1),
            "int64 images of whole numbers from 0 to 255 are taken as uint8",
        ),
        (PIXELS.astype(np.float32), (5, 5, 1), "float32 images of whole numbers from 0 to 255"),
        (PIXELS.astype(np.uint8)[:, None], (5, 5, 1), "have their channels first, and are transposed"),
        (np.repeat(PIXELS.astype(np.uint8)[:, None], 3, 1), (5, 5, 3), "have their channels first"),
        (np.repeat(PIXELS.astype(np.uint8)[..., None], 3, 3), (5, 5, 3), ""),
    ],
)
def test_images_are_taken_as_they_are_meant(save, images, shape, note):
    data = loaded(save, note, x_train=images, x_test=images[:2])
    assert (data.x_train.dtype, data.x_train.shape[1:]) == (np.uint8, shape)
    np.testing.assert_array_equal(data.x_train[..., 0], PIXELS)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_images_in_the_unit_interval_stay_floats(save, channels):
    x = PIXELS / 255 if channels is None else np.repeat(PIXELS[..., None] / 255, channels, 3)
    data = loaded(save, x_train=x, x_test=x[:2])
    assert (data.x_train.dtype, data.x_train.shape[1:]) == (np.float32, (5, 5, channels or 1))


def test_features_that_are_large_are_noted_and_booleans_are_features(save):
    assert loaded(save, "has values up to 500", x_train=np.full((6, 4), 500.0), x_test=np.full((2, 4), 500.0))
    assert (
        loaded(save, x_train=np.ones((6, 4), bool), x_test=np.ones((2, 4), bool)).x_train.dtype == np.float32
    )


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (LABELS[:, None], ""),
        (LABELS[None], ""),
        (LABELS.astype(np.int8), ""),
        (np.eye(3)[LABELS], "is one-hot, and taken as the classes 0..2"),
        (np.eye(3, dtype=bool)[LABELS], "is one-hot"),
        (np.eye(3, dtype=np.uint8)[LABELS], "is one-hot"),
    ],
)
def test_labels_are_taken_as_they_are_meant(save, labels, note):
    test = labels[:, :2] if labels.shape[0] == 1 else labels[:2]
    data = loaded(save, note, y_train=labels, y_test=test)
    assert (data.task, data.classes, data.y_train.tolist()) == ("classification", 3, LABELS.tolist())
    assert data.y_test.tolist() == LABELS[:2].tolist()


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("trainX", "trainY", "testX", "testY"),
        ("data_train", "target_train", "data_val", "target_val"),
        ("images_train", "labels_train", "images_validation", "labels_validation"),
    ],
)
def test_arrays_have_the_names_that_others_give_them(tmp_path, names):
    arrays = own()
    roles = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "own.npz", **{name: arrays[role] for name, role in zip(names, roles, strict=True)})
    np.testing.assert_array_equal(load(f"{tmp_path}/own.npz").x_train, arrays["x_train"])


def test_notes_on_arrays_that_are_split_say_which_part_they_mean(tmp_path):
    path = str(tmp_path / "own.npz")
    np.savez(path, data=np.arange(10.0)[:, None] + 200, target=np.arange(10) % 2)
    with (
        pytest.warns(UserWarning, match="has no test set"),
        pytest.warns(UserWarning, match="data of the training examples has values up to 208"),
        pytest.warns(UserWarning, match="data of the test examples has values up to 209"),
    ):
        load(path)


@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("data", "target"), ("images", "labels")])
def test_without_a_test_set_every_fifth_example_is_for_testing(tmp_path, names):
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    arrays: dict[str, Any] = {names[0]: x, names[1]: y, "client_train": np.arange(10) // 5}
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.warns(UserWarning, match="has no test set: every 5th example is for testing"):
        data = load(f"{tmp_path}/own.npz")
    assert data.x_test.tolist() == x[[4, 9]].tolist()
    assert data.client_train is not None
    assert data.client_train.tolist() == [0] * 4 + [1] * 4
    np.savez(tmp_path / "own.npz", x=x, y=y[:9])
    with pytest.raises(UsageError, match=r"unequal numbers of examples: x \[10, 2\], y \[9\]"):
        load(f"{tmp_path}/own.npz")


@pytest.mark.parametrize(
    "owners",
    [
        ["f_10", "f_02", "f_10", "f_02", "f_99", "f_99"],
        [7, 3, 7, 3, 900, 900],
        [b"b", b"a", b"b", b"a", b"c", b"c"],
    ],
)
def test_owners_have_names_or_numbers_with_gaps(save, owners):
    data = load(save(client_train=np.array(owners)))
    assert data.client_train is not None
    assert data.client_train.tolist() == [1, 0, 1, 0, 2, 2]


def test_what_torch_saves_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as file:
        file.writestr("archive/data.pkl", b"")
    with pytest.raises(
        UsageError, match=r"own\.npz: written by torch\.save; allowed: what numpy\.savez writes"
    ):
        load(f"{tmp_path}/own.npz")
