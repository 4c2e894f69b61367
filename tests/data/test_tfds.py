"""Folders prepared by tensorflow-datasets, without TensorFlow: prepared from arrays, read back, damaged."""

import functools
import json
import shutil
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image
from tensorflow_datasets.testing import mocking

from fedjax_sparse.data import datasets, prepare, tfds
from fedjax_sparse.errors import UsageError


class Sheets(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
    """Six images to train on and three to test on, of the sizes and split names given."""

    VERSION = tensorflow_datasets.core.Version("1.2.0")
    sizes = ((4, 5),)
    splits = ("train", "test")
    keys: tuple[str, str] | None = ("image", "label")

    def _info(self):
        features = {
            "image": tensorflow_datasets.features.Image(shape=(None, None, 3), dtype=np.uint8),
            "label": tensorflow_datasets.features.ClassLabel(num_classes=3),
            "size": tensorflow_datasets.features.Scalar(np.int64),
        }
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=tensorflow_datasets.features.FeaturesDict(features),
            supervised_keys=self.keys,
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {
            split: self._generate_examples(count) for split, count in zip(self.splits, (6, 3), strict=False)
        }

    def _generate_examples(self, count):
        for i in range(count):
            height, width = self.sizes[i % len(self.sizes)]
            image = Image.fromarray(np.full((height, width, 3), i, np.uint8))
            yield i, {"image": image, "label": i % 3, "size": height}


def write(out_dir, name="sheets", **attributes):
    builder = type(name.title(), (Sheets,), attributes, skip_registration=True)(
        data_dir=str(out_dir), file_format="array_record"
    )
    builder.download_and_prepare()
    return out_dir / name / "1.2.0"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def copy(prepared, tmp_path):
    """A data folder of one's own to damage."""
    shutil.copytree(prepared.parent.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "sheets" / "1.2.0"


def examples(x, y):
    return sorted((image.tobytes(), int(label)) for image, label in zip(x, y, strict=True))


def test_any_image_classification_set_is_read_by_its_name(prepared, tmp_path):
    for _ in range(2):
        data = datasets.load("sheets", data_dir=prepared.parent.parent, cache_dir=tmp_path)
        expected = [(np.full((4, 5, 3), i, np.uint8), i % 3) for i in range(6)]
        assert examples(data.x_train, data.y_train) == examples(*zip(*expected, strict=True))
        assert examples(data.x_test, data.y_test) == examples(*zip(*expected[:3], strict=True))
        np.testing.assert_allclose(data.mean, [2.5 / 255] * 3, rtol=1e-12)
        assert (data.classes, data.task, data.y_train.dtype) == (3, "classification", np.int32)


def test_the_newest_version_is_used(tmp_path):
    for version in ("1.0.0", "9.0.0", "10.0.0", "incomplete.ABC_11.0.0", "extra"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "dataset_info.json").touch()
    (tmp_path / "12.0.0").mkdir()
    assert tfds.find(tmp_path) == tmp_path / "10.0.0"
    assert tfds.find(tmp_path / "none") is None


def test_a_configuration_is_a_folder_below(copy, tmp_path):
    (tmp_path / "sheets" / "small").mkdir()
    copy.rename(tmp_path / "sheets" / "small" / "1.2.0")
    assert len(datasets.load("sheets/small", data_dir=tmp_path, cache_dir=tmp_path / "cache").x_train) == 6


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"sizes": ((4, 5), (5, 4))},
            r"split train: images of unequal sizes \(., ., 3\) and \(example \d\) \(., ., 3\)",
        ),
        (
            {"splits": ("train", "extra")},
            r"has the splits \['extra', 'train'\]; needed: train, and test or validation",
        ),
        ({"keys": None}, "not a classification set: its supervised keys are None"),
        ({"keys": ("size", "label")}, "not an image classification set"),
    ],
)
def test_sets_of_another_kind_are_refused(tmp_path, attributes, message):
    folder = write(tmp_path, **attributes)
    with pytest.raises(UsageError, match=message) as caught:
        tfds.read(folder)
    assert str(caught.value).startswith(str(folder))


def test_validation_stands_in_for_a_missing_test_split(tmp_path):
    assert len(tfds.read(write(tmp_path, splits=("train", "validation")))["x_test"]) == 3


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def replace(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: cut(folder / "sheets-train.array_record-00000-of-00001", 2_000),
            "split train cannot be read",
        ),
        (
            lambda folder: (folder / "sheets-test.array_record-00000-of-00001").unlink(),
            "split test cannot be read",
        ),
        (lambda folder: cut(folder / "dataset_info.json", 100), r"dataset_info\.json: cannot be read"),
        (lambda folder: cut(folder / "features.json", 50), "not a prepared tensorflow-datasets folder"),
        (
            lambda folder: replace(folder / "dataset_info.json", fileFormat="tfrecord"),
            "prepared as tfrecord, which needs",
        ),
        (
            lambda folder: (folder / "dataset_info.json").write_text("[]"),
            r"dataset_info\.json: cannot be read",
        ),
    ],
)
def test_damaged_folders_are_named(copy, tmp_path, damage, message):
    damage(copy)
    with pytest.raises(UsageError, match=message) as caught:
        datasets.load("sheets", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert str(caught.value).startswith(str(copy))
    assert "\n" not in str(caught.value)


def write_metadata(name, data_dir):
    """The two files that describe a prepared folder, without its data."""
    builder: Any = tensorflow_datasets.builder(name, data_dir=str(data_dir), file_format="array_record")
    folder = data_dir / name / str(builder.version)
    folder.mkdir(parents=True)
    builder.info.features.save_config(folder)
    split = {"shardLengths": ["5"], "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}
    keys = [{"featureKey": key} for key in builder.info.supervised_keys]
    info = {
        "name": builder.name,
        "configName": builder.builder_config.name if builder.builder_config else "",
        "version": str(builder.version),
        "fileFormat": "array_record",
        "splits": [split | {"name": "train"}, split | {"name": "test"}],
        "supervisedKeys": {"tuple": {"items": keys}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(
    ("name", "shape"),
    [("kmnist", (28, 28, 1)), ("emnist/byclass", (28, 28, 1)), ("svhn_cropped", (32, 32, 3))],
)
def test_built_in_sets_are_read_through_their_metadata(tmp_path, monkeypatch, name, shape):
    # Random pixels stand in for the files, as in the tests of tensorflow-datasets itself. Its stand-in for reading
    # several rows at once asks for a `self` that a mock does not pass.
    monkeypatch.setattr(mocking, "_getitems", functools.partial(mocking._getitems, None))
    builder = tensorflow_datasets.builder_from_directory(write_metadata(name, tmp_path))
    with tensorflow_datasets.testing.mock_data(num_examples=5):
        arrays = tfds.read_builder(builder, name)
    assert arrays["x_train"].shape == (5, *shape)
    assert arrays["y_test"].shape == (5,)
    assert arrays["x_train"].any()
    assert "tensorflow" not in sys.modules


def small(name, shape):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (20, *shape), dtype=np.uint8)
    y = (np.arange(20) % 10).astype(np.int32)
    return datasets.Dataset(name, x, y, x[:5], y[:5], "classification", 10)


@pytest.mark.parametrize(("name", "shape"), [("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_a_slice_prepared_is_a_slice_read(tmp_path, monkeypatch, name, shape):
    data = small(name, shape)
    monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: data)
    folder = prepare.prepare(name, out_dir=tmp_path)
    assert folder == tmp_path / f"{name}_raw" / "1.0.0"
    arrays = tfds.read(folder)
    assert examples(arrays["x_train"], arrays["y_train"]) == examples(data.x_train, data.y_train)
    assert examples(arrays["x_test"], arrays["y_test"]) == examples(data.x_test, data.y_test)
    assert prepare.prepare(name, out_dir=tmp_path) == folder  # and is kept


def test_what_cannot_be_prepared_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="unknown data set to prepare 'minst'; did you mean 'mnist'"):
        prepare.prepare("minst", out_dir=tmp_path)
    with pytest.raises(UsageError, match="mnist: nothing is in"):
        prepare.prepare("mnist", data_dir=tmp_path, out_dir=tmp_path)
    monkeypatch.setattr(datasets, "load", lambda *args, **kwargs: small("mnist", (28, 28, 1)))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: cannot be made a folder"):
        prepare.prepare("mnist", out_dir=tmp_path / "file")


@pytest.mark.slow
@pytest.mark.data
def test_fashion_mnist_prepared_equals_the_raw_files(data_dir, tmp_path):
    raw = datasets.load("fashion_mnist", data_dir=data_dir, cache_dir=tmp_path / "cache")
    prepare.prepare(
        "fashion_mnist", data_dir=data_dir, cache_dir=tmp_path / "cache", out_dir=tmp_path / "out"
    )
    again = datasets.load("fashion_mnist", data_dir=tmp_path / "out", cache_dir=tmp_path / "cache")
    assert examples(again.x_train, again.y_train) == examples(raw.x_train, raw.y_train)
    assert examples(again.x_test, again.y_test) == examples(raw.x_test, raw.y_test)
    assert (again.mean, again.std) == (raw.mean, raw.std)
