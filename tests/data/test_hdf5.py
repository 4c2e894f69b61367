"""TensorFlow Federated's HDF5 files, written here."""

from pathlib import Path

import numpy as np
import pytest

from fedjax_sparse.data.datasets import load
from fedjax_sparse.errors import UsageError

h5py = pytest.importorskip("h5py", reason="needs the extra fedjax-sparse[hdf5]")
RNG = np.random.default_rng(0)


def written(file: Path, **clients: dict[str, np.ndarray]) -> str:
    with h5py.File(file, "w") as out:
        for name, fields in clients.items():
            for key, array in fields.items():
                out.create_dataset(f"examples/{name}/{key}", data=array)
    return str(file)


def emnist(count: int) -> dict[str, np.ndarray]:
    pixels = (RNG.integers(0, 256, (count, 28, 28)) / 255).astype(np.float32)
    return {"pixels": pixels, "label": np.arange(count, dtype=np.int32)}


LEVELS = pytest.mark.filterwarnings("ignore:.*grey levels divided by 255")


@LEVELS
def test_fed_emnist_has_its_test_file_beside_it(tmp_path):
    clients = {"f2": emnist(3), "f1": emnist(2)}
    name = written(tmp_path / "fed_emnist_train.h5", **clients)
    written(tmp_path / "fed_emnist_test.h5", f1=emnist(1))
    data = load(name)
    assert (data.x_train.shape, data.x_train.dtype, len(data.x_test)) == ((5, 28, 28, 1), np.uint8, 1)
    expected = np.concatenate([clients["f1"]["pixels"], clients["f2"]["pixels"]])
    np.testing.assert_array_equal(data.x_train[..., 0], np.rint(255 * expected))
    assert data.y_train.tolist() == [0, 1, 0, 1, 2]
    assert data.client_train is not None
    assert data.client_train.tolist() == [0, 0, 1, 1, 1]


def test_fed_cifar100_has_coarse_labels_that_are_left_aside(tmp_path):
    image = RNG.integers(0, 256, (5, 32, 32, 3), np.uint8)
    labels = {"label": np.array([0, 1, 2, 1, 0]), "coarse_label": np.array([7, 7, 8, 9, 7])}
    name = written(tmp_path / "cifar.h5", c0={"image": image, **labels})
    with pytest.warns(UserWarning, match="every 5th example is for testing"):
        data = load(name)
    np.testing.assert_array_equal(data.x_train, image[:4])
    assert (data.classes, data.y_test.tolist()) == (3, [0])


@LEVELS
def test_who_holds_nothing_is_left_out_and_named(tmp_path):
    name = written(tmp_path / "x_train.h5", a=emnist(0), b=emnist(4))
    written(tmp_path / "x_test.h5", b=emnist(1))
    with pytest.warns(UserWarning, match="1 of 2 users hold nothing: a; left out"):
        load(name)


def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(UsageError, match=r"text\.h5: not a readable HDF5 file"):
        load(str(tmp_path / "text.h5"))
    with h5py.File(tmp_path / "other.h5", "w") as out:
        out["x"] = np.zeros(3)
    with pytest.raises(UsageError, match="not of TensorFlow Federated: it has no group 'examples'"):
        load(str(tmp_path / "other.h5"))
    name = written(tmp_path / "shakespeare.h5", c={"snippets": np.zeros(2)})
    with pytest.raises(UsageError, match="client c holds snippets; allowed: images"):
        load(name)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UsageError, match=r"pip install 'fedjax-sparse\[hdf5\]'"):
        load(name)
