"""Prepares tensorflow-datasets folders (ArrayRecord) from raw files, without TensorFlow and without a network.

The builders that come with tensorflow-datasets need TensorFlow for this. The names of ours end in `_raw`, because a
name can be registered only once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from fedjax_sparse.data import datasets
from fedjax_sparse.errors import UsageError, unknown_name


class _RawImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the arrays of a `Dataset`, given as the attribute `dataset` before anything is prepared."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE: tuple[int, int, int] = (28, 28, 1)
    CLASSES = 10
    # Nothing is downloaded. Looking for checksums would need importlib_resources, which is not among the declared
    # dependencies of tensorflow-datasets.
    url_infos = None
    dataset: datasets.Dataset

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=self.SHAPE, dtype=np.uint8),
            "label": tfds.features.ClassLabel(num_classes=self.CLASSES),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded or extracted, so that files of equal names cannot be mixed up
        data = self.dataset
        return {
            "train": self._generate_examples(data.x_train, data.y_train),
            "test": self._generate_examples(data.x_test, data.y_test),
        }

    def _generate_examples(self, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        grey = x.shape[-1] == 1
        for i in range(len(x)):
            # An array would be encoded by TensorFlow; an image is encoded by Pillow.
            yield i, {"image": Image.fromarray(x[i, :, :, 0] if grey else x[i]), "label": int(y[i])}


class MnistRaw(_RawImages):
    """MNIST from its four IDX files."""


class FashionMnistRaw(_RawImages):
    """Fashion-MNIST from its four IDX files."""


class Cifar10Raw(_RawImages):
    """CIFAR-10 from any of the forms in which `datasets.load` reads it."""

    SHAPE = (32, 32, 3)


BUILDERS = {"mnist": MnistRaw, "fashion_mnist": FashionMnistRaw, "cifar10": Cifar10Raw}


def prepare(
    name: str,
    *,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    out_dir: str | Path,
) -> Path:
    """Writes `out_dir/<name>_raw/1.0.0/`, which `datasets.load(name, data_dir=out_dir)` finds.

    Args:
        name: One of `BUILDERS`.
        data_dir: Where the raw files are, as for `datasets.load`.
        cache_dir: As for `datasets.load`.
        out_dir: A folder, made where needed. What is already prepared in it is kept.

    Returns:
        The folder that was written.
    """
    if name not in BUILDERS:
        unknown_name("data set to prepare", name, BUILDERS)
    dataset = datasets.load(name, data_dir=data_dir, cache_dir=cache_dir)
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out_dir}: cannot be made a folder: {error.strerror}") from error
    builder = BUILDERS[name](data_dir=str(out_dir), file_format="array_record")
    builder.dataset = dataset
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return Path(builder.data_dir)
