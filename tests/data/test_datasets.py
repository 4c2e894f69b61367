"""Data sets by name: what the real files hold, and what is said where something is missing or wrong."""

import gzip
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fedjax_sparse.data import datasets, images
from fedjax_sparse.data.datasets import DATASETS, load
from fedjax_sparse.errors import UsageError


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def no_default_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDJAX_SPARSE_DATA", raising=False)
    monkeypatch.setenv("FEDJAX_SPARSE_CACHE", str(tmp_path / "default-cache"))


def rows(x, y):
    return sorted((image.tobytes(), int(label)) for image, label in zip(x, y, strict=True))


def test_digits_are_split_once_and_for_all():
    data = load("digits")
    assert (data.x_train.shape, data.x_test.shape) == ((1_437, 8, 8, 1), (360, 8, 8, 1))
    assert (data.x_train.dtype, data.task, data.classes, data.client_train) == (
        np.uint8,
        "classification",
        10,
        None,
    )
    x, y = load_digits(return_X_y=True)
    together = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    assert rows(*together) == rows(x.astype(np.uint8).reshape(-1, 8, 8, 1), y)
    # Stratified: each class gives a fifth, to within one image.
    share = np.bincount(data.y_test) - np.bincount(y) / 5
    assert (np.abs(share) < 1).all()
    # Sorted by class and by place, the 0th, 5th, ... are for testing: the first zero, then the sixth.
    np.testing.assert_array_equal(data.x_test[data.y_test == 0][:2].reshape(2, 64), x[y == 0][[0, 5]])


def test_digits_are_normalised_exactly():
    data = load("digits")
    standard = (data.x_train / 255.0 - data.mean) / data.std
    assert abs(standard.mean()) < 1e-12
    assert abs(standard.std() - 1) < 1e-12


def test_digits_are_taken_from_scikit_learn_once(monkeypatch):
    first = load("digits")
    monkeypatch.setattr(datasets, "_digits", lambda: pytest.fail("read again"))
    again = load("digits")
    np.testing.assert_array_equal(again.x_train, first.x_train)
    np.testing.assert_array_equal(again.y_test, first.y_test)
    assert (again.mean, again.std) == (first.mean, first.std)


def test_arrays_are_read_only():
    data = load("digits")
    with pytest.raises(ValueError, match="read-only"):
        data.x_train[0] = 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnst", "unknown data set 'mnst'; did you mean 'mnist'"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("emnist", "comes in several forms; allowed: emnist/byclass"),
        ("", "unknown data set ''"),
        ("kmnist", "allowed: DATA_DIR/kmnist/VERSION/ prepared by tensorflow-datasets, FILE"),
    ],
)
def test_unknown_names_get_the_nearest(name, message):
    with pytest.raises(UsageError, match=message):
        load(name)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UsageError, match="mnist: no data folder; set --data-dir or FEDJAX_SPARSE_DATA"):
        load("mnist")
    with pytest.raises(UsageError, match=r"there is no data folder .*nowhere"):
        load("mnist", data_dir=tmp_path / "nowhere")
    with pytest.raises(UsageError) as caught:
        load("mnist", data_dir=tmp_path)
    folder = (
        f"mnist: nothing is in {tmp_path}/mnist/; put there train-images-idx3-ubyte.gz, train-labels-idx1"
    )
    assert str(caught.value).startswith(folder)
    assert "VERSION/ as prepared by tensorflow-datasets" in str(caught.value)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").touch()
    lacks = (
        f"^mnist: {tmp_path}/mnist/ lacks train-images-idx3-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels"
    )
    with pytest.raises(UsageError, match=lacks):
        load("mnist", data_dir=tmp_path)
    with pytest.raises(UsageError, match=f"{tmp_path}/kmnist/VERSION/ prepared by tensorflow-datasets"):
        load("kmnist", data_dir=tmp_path)


def test_every_entry_says_what_is_missing(tmp_path):
    for name, entry in DATASETS.items():
        if entry.folder:
            with pytest.raises(
                UsageError, match=f"^{name}: nothing is in {tmp_path}/{entry.folder}/; put there "
            ):
                load(name, data_dir=tmp_path)
            assert entry.where.startswith(f"DATA_DIR/{entry.folder}/: ")


def test_the_wrong_number_of_examples_is_refused(tmp_path):
    (tmp_path / "libsvm").mkdir()
    for name in ("a9a", "a9a.t"):
        (tmp_path / "libsvm" / name).write_text("+1 1:1\n-1 2:1\n")
    with pytest.raises(UsageError, match=r"a9a: 2 training and 2 test examples, expected 32561 and 16281"):
        load("a9a", data_dir=tmp_path)


def test_the_data_folder_may_come_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "shakespeare").mkdir()
    (tmp_path / "shakespeare" / "input.txt").write_text("To be, or not to be. " * 100)
    monkeypatch.setenv("FEDJAX_SPARSE_DATA", str(tmp_path))
    data = load("tiny_shakespeare")
    assert (data.task, data.mean, data.std) == ("text", (0.0,), (1.0,))
    assert data.classes == len(set("To be, or not to be. ")) + 1
    assert [path.name[:17] for path in (tmp_path / "default-cache").iterdir()] == ["tiny_shakespeare-"]


def test_no_jax_is_imported():
    code = "import sys; from fedjax_sparse.data import datasets; datasets.load('digits'); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# The published numbers of examples of each class.
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "train", "test"),
    [
        ("mnist", (28, 28, 1), MNIST_TRAIN, MNIST_TEST),
        ("fashion_mnist", (28, 28, 1), [6_000] * 10, [1_000] * 10),
        ("a9a", (123,), [24_720, 7_841], [12_435, 3_846]),
        ("w8a", (300,), [48_270, 1_479], None),
        ("mushrooms", (112,), [3_916, 4_208], None),
        ("phishing", (68,), [4_898, 6_157], None),
    ],
)
def test_real_files_hold_the_published_counts(data_dir, cache_dir, name, shape, train, test):
    for _ in range(2):  # the second time from the cache
        data = load(name, data_dir=data_dir, cache_dir=cache_dir)
        assert data.x_train.shape[1:] == shape
        held = np.bincount(data.y_test)
        if test is None:  # the fifth part of the rows
            assert len(data.y_test) == (len(data.y_train) + len(data.y_test)) // 5
            assert (np.bincount(data.y_train) + held).tolist() == train
        else:
            assert np.bincount(data.y_train).tolist() == train
            assert held.tolist() == test


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_published_moments_are_those_of_the_training_set(data_dir, cache_dir, name):
    data = load(name, data_dir=data_dir, cache_dir=cache_dir)
    np.testing.assert_allclose([data.mean, data.std], images.moments(data.x_train), atol=6e-5)


@pytest.mark.data
def test_phishing_rows_have_unit_length(data_dir, cache_dir):
    data = load("phishing", data_dir=data_dir, cache_dir=cache_dir)
    np.testing.assert_allclose(np.linalg.norm(data.x_train, axis=1), 1, atol=1e-4)


@pytest.mark.data
def test_har_is_divided_by_person(data_dir, cache_dir):
    data = load("uci_har", data_dir=data_dir, cache_dir=cache_dir)
    assert data.client_train is not None
    # Windows of the 21 people of the official training set, in the order of their numbers.
    people = [
        347,
        341,
        302,
        325,
        308,
        281,
        316,
        323,
        328,
        366,
        368,
        360,
        408,
        321,
        372,
        409,
        392,
        376,
        382,
        344,
        383,
    ]
    assert np.bincount(data.client_train).tolist() == people
    assert (len(data.x_test), data.classes) == (2_947, 6)
    total = np.bincount(data.y_train) + np.bincount(data.y_test)
    assert total.tolist() == [1722, 1544, 1406, 1777, 1906, 1944]
    # Gravity shows in the x axis of the total acceleration, in g.
    assert abs(float(data.x_train[..., 6].mean()) - 0.81) < 0.02


@pytest.mark.data
def test_shakespeare_has_its_roles(data_dir, cache_dir):
    data = load("shakespeare", data_dir=data_dir, cache_dir=cache_dir)
    assert data.client_train is not None
    assert np.bincount(data.client_train).min() >= 11
    assert (len(np.unique(data.client_train)), data.task, data.x_train.shape[1]) == (637, "text", 80)


@pytest.mark.data
def test_mixed_up_files_of_equal_names_are_refused_by_shape(data_dir, tmp_path):
    (tmp_path / "mnist").mkdir()
    for path in (data_dir / "mnist").glob("*.gz"):
        (tmp_path / "mnist" / path.name).symlink_to(path)
    swapped = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    swapped.unlink()
    swapped.symlink_to(data_dir / "mnist" / "t10k-images-idx3-ubyte.gz")
    with pytest.raises(UsageError, match=r"10000 images, .* holds 60000 labels"):
        load("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    content = bytearray(gzip.decompress((data_dir / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes()))
    content[100] = 10
    label = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    label.unlink()
    label.write_bytes(gzip.compress(bytes(content)))
    swapped.unlink()
    swapped.symlink_to(data_dir / "mnist" / swapped.name)
    with pytest.raises(UsageError, match=re.escape("mnist: y_test has labels 0..10; allowed: 0..9")):
        load("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")
