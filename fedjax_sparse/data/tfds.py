"""Folders prepared by tensorflow-datasets as ArrayRecord, read without TensorFlow.

tensorflow-datasets is imported where it is used: it takes half a second, and most runs do without it. Its builders
are `Any` here: their annotations do not describe what a type checker sees after their decorators.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_sparse.data.files import Arrays
from fedjax_sparse.errors import UsageError

_BLOCK = 4096  # examples decoded at a time; three times as fast as one by one
_INFO = "dataset_info.json"
_TEST_SPLITS = ("test", "validation")


def find(folder: Path) -> Path | None:
    """The newest version prepared below a folder: `folder/<version>/`."""
    versions = {
        tuple(map(int, match.groups())): info.parent
        for info in folder.glob(f"*/{_INFO}")
        if (match := re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", info.parent.name))
    }
    return versions[max(versions)] if versions else None


def read(folder: Path) -> Arrays:
    """All images and labels of a prepared folder (`<name>[/<config>]/<version>`).

    The image and the label are the builder's `supervised_keys`. The test set is the split `test`, else `validation`.

    Raises:
        UsageError: Not ArrayRecord, damaged, no images with one label each, or images of unequal sizes.
    """
    _check_format(folder)
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # damaged metadata raise anything at all
        raise UsageError(f"{folder}: not a prepared tensorflow-datasets folder: {_line(error)}") from error
    return read_builder(builder, str(folder))


def read_builder(builder: Any, where: str) -> Arrays:
    """All images and labels of a builder whose data are prepared; see `read`."""
    keys = _keys(builder.info, where)
    splits = set(builder.info.splits)
    test = next((name for name in _TEST_SPLITS if name in splits), None)
    if "train" not in splits or test is None:
        raise UsageError(f"{where}: has the splits {sorted(splits)}; needed: train, and test or validation")
    x_train, y_train = _read_split(builder, "train", keys, where)
    x_test, y_test = _read_split(builder, test, keys, where)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]


def _check_format(folder: Path) -> None:
    try:
        info = json.loads((folder / _INFO).read_text())
        file_format = info.get("fileFormat", "tfrecord")
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{folder / _INFO}: cannot be read: {_line(error)}") from error
    if file_format != "array_record":
        hint = 'prepare it again with file_format="array_record"'
        raise UsageError(f"{folder}: prepared as {file_format}, which needs TensorFlow to read; {hint}")


def _keys(info: Any, where: str) -> tuple[str, str]:
    keys, features = info.supervised_keys, info.features
    if keys is None or len(keys) != 2 or not all(isinstance(key, str) and key in features for key in keys):
        raise UsageError(f"{where}: not a classification set: its supervised keys are {keys}")
    image, label = (features[key] for key in keys)
    is_image = isinstance(image.shape, tuple) and len(image.shape) == 3 and image.np_dtype == np.uint8
    is_label = label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    if not (is_image and is_label):
        raise UsageError(
            f"{where}: not an image classification set: its supervised keys are {image} and {label}"
        )
    return keys


def _read_split(builder: Any, split: str, keys: tuple[str, str], where: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        source = builder.as_data_source(split)
        y = np.empty(len(source), np.int32)
        x = np.empty((len(source), *np.shape(source[0][keys[0]])), np.uint8)
        for start in range(0, len(source), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(source)))
            for row, example in zip(rows, source.__getitems__(list(rows)), strict=True):
                y[row] = example[keys[1]]
                _store(x, row, example[keys[0]], f"{where}: split {split}")
    except UsageError:
        raise
    except Exception as error:  # each layer (features, decoders, ArrayRecord) has its own errors
        raise UsageError(f"{where}: split {split} cannot be read: {_line(error)}") from error
    return x, y


def _store(x: np.ndarray, row: int, image: np.ndarray, where: str) -> None:
    if image.shape != x.shape[1:]:
        sizes = f"{x.shape[1:]} and (example {row}) {image.shape}"
        raise UsageError(f"{where}: images of unequal sizes {sizes}; only sets of one size can be used")
    x[row] = image
