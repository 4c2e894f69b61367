"""Image data sets from the files that their authors distribute: IDX, CIFAR batches and mosaics, SVHN's .mat."""

import io
import pickle
from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image

from fedjax_sparse.data.files import Arrays, Blob, Format, read_npz
from fedjax_sparse.errors import UsageError

_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_BYTES = 3 * 32 * 32
_MOSAIC = (25, 40)  # tiles down and across


def _check_lengths(x: Blob, images: np.ndarray, y: Blob, labels: np.ndarray) -> None:
    if len(images) != len(labels):
        raise UsageError(f"{x.where} holds {len(images)} images, {y.where} holds {len(labels)} labels")


# IDX: MNIST and the sets made like it (http://yann.lecun.com/exdb/mnist, "file format").


def parse_idx(blob: Blob, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file: magic number, `rank` big-endian lengths, then the bytes, row major."""
    expected = 0x0800 + rank
    magic = int.from_bytes(blob.content[:4], "big")
    start = 4 + 4 * rank
    if magic != expected or len(blob.content) < start:
        raise UsageError(
            f"{blob.where}: not an IDX file: magic number {magic:#010x}, expected {expected:#010x}"
        )
    shape = tuple(int(n) for n in np.frombuffer(blob.content, ">u4", rank, offset=4))
    size = int(np.prod(shape, dtype=object))
    if len(blob.content) - start != size:
        held = len(blob.content) - start
        raise UsageError(
            f"{blob.where}: holds {held} bytes, its header says {'x'.join(map(str, shape))} = {size}"
        )
    return np.frombuffer(blob.content, np.uint8, offset=start).reshape(shape)


def _parse_mnist(blobs: Sequence[Blob]) -> Arrays:
    x_train, y_train, x_test, y_test = (
        parse_idx(blob, rank) for blob, rank in zip(blobs, (3, 1, 3, 1), strict=True)
    )
    _check_lengths(blobs[0], x_train, blobs[1], y_train)
    _check_lengths(blobs[2], x_test, blobs[3], y_test)
    return {"x_train": x_train[..., None], "y_train": y_train, "x_test": x_test[..., None], "y_test": y_test}


def _idx_files(train: str, test: str) -> tuple[str, ...]:
    kinds = ("images-idx3-ubyte.gz", "labels-idx1-ubyte.gz")
    return tuple(f"{split}-{kind}" for split in (train, test) for kind in kinds)


def emnist(config: str) -> tuple[Format, ...]:
    """The four files of one EMNIST split, as NIST names them; images stay transposed, as distributed."""
    names = _idx_files(f"emnist-{config}-train", f"emnist-{config}-test")
    return Format(names, _parse_mnist), Format(tuple(f"gzip/{name}" for name in names), _parse_mnist)


MNIST = (Format(_idx_files("train", "t10k"), _parse_mnist),)


# CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html).


def _cifar_arrays(batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> Arrays:
    # The last batch is the test set.
    x, y = ([batch[i] for batch in batches] for i in (0, 1))
    x_train = np.concatenate(x[:-1]).transpose(0, 2, 3, 1)
    return {
        "x_train": np.ascontiguousarray(x_train),
        "y_train": np.concatenate(y[:-1]),
        "x_test": np.ascontiguousarray(x[-1].transpose(0, 2, 3, 1)),
        "y_test": y[-1],
    }


def parse_cifar_binary(blob: Blob, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, 3, 32, 32] and labels of a binary batch.

    A record is `labels` label bytes, of which the last counts, and 3,072 of pixels: red, green, blue planes.
    """
    record = labels + _CIFAR_BYTES
    if not blob.content or len(blob.content) % record:
        raise UsageError(
            f"{blob.where}: {len(blob.content)} bytes, not a multiple of the {record} of a CIFAR record"
        )
    rows = np.frombuffer(blob.content, np.uint8).reshape(-1, record)
    return rows[:, labels:].reshape(-1, *_CIFAR_SHAPE), rows[:, labels - 1]


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds NumPy arrays and nothing else, so that a file can run no code."""

    _allowed = frozenset(
        {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        module = module.replace("numpy.core", "numpy._core")  # renamed in NumPy 2
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return super().find_class(module, name)


def parse_cifar_pickle(blob: Blob, label_key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, 3, 32, 32] and labels of a "python" batch: a pickled dict of a data array and a list of labels."""
    try:
        batch = _ArrayUnpickler(io.BytesIO(blob.content), encoding="bytes").load()
        x, y = np.asarray(batch[b"data"]), np.asarray(batch[label_key])
        images = x.reshape(len(y), *_CIFAR_SHAPE)
    except Exception as error:  # a damaged pickle raises anything at all
        raise UsageError(f"{blob.where}: not a CIFAR batch: {error}") from error
    if x.dtype != np.uint8 or y.dtype.kind not in "iu":
        raise UsageError(
            f"{blob.where}: data of {x.dtype} and labels of {y.dtype}, expected uint8 and integers"
        )
    return images, y


def _parse_binaries(blobs: Sequence[Blob], labels: int) -> Arrays:
    return _cifar_arrays([parse_cifar_binary(blob, labels) for blob in blobs])


def _parse_pickles(blobs: Sequence[Blob], label_key: bytes) -> Arrays:
    return _cifar_arrays([parse_cifar_pickle(blob, label_key) for blob in blobs])


def parse_mosaic(blob: Blob) -> np.ndarray:
    """The 1,000 images [1000, 32, 32, 3] of a lossless mosaic, 40 tiles across and 25 down, row major."""
    down, across = _MOSAIC
    try:
        with Image.open(io.BytesIO(blob.content)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"{blob.where}: not a readable image: {error}") from error
    if pixels.shape != (32 * down, 32 * across, 3):
        raise UsageError(f"{blob.where}: an image of {pixels.shape}, expected {(32 * down, 32 * across, 3)}")
    return pixels.reshape(down, 32, across, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)


def _parse_mosaics(blobs: Sequence[Blob], train: int) -> Arrays:
    # labels.npz, then `train` mosaics of the training set, then those of the test set.
    arrays = read_npz(blobs[0], ("y_train", "y_test"))
    splits = {"x_train": blobs[1 : 1 + train], "x_test": blobs[1 + train :]}
    for name, mosaics in splits.items():
        arrays[name] = np.concatenate([parse_mosaic(blob) for blob in mosaics])
    for x, y in (("x_train", "y_train"), ("x_test", "y_test")):
        if arrays[y].shape != (len(arrays[x]),):
            raise UsageError(
                f"{blobs[0].where}: {y} has shape {arrays[y].shape}, there are {len(arrays[x])} images"
            )
    return arrays


def _batches(folder: str, train: Sequence[str], test: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in (*train, test))


CIFAR10 = (
    Format(
        ("labels.npz", *(f"train-{i:02}.webp" for i in range(50)), *(f"test-{i:02}.webp" for i in range(10))),
        partial(_parse_mosaics, train=50),
    ),
    Format(
        _batches("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin"),
        partial(_parse_binaries, labels=1),
        archive="cifar-10-binary.tar.gz",
    ),
    Format(
        _batches("cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], "test_batch"),
        partial(_parse_pickles, label_key=b"labels"),
        archive="cifar-10-python.tar.gz",
    ),
)
CIFAR100 = (
    Format(
        _batches("cifar-100-binary", ["train.bin"], "test.bin"),
        partial(_parse_binaries, labels=2),  # coarse, then fine
        archive="cifar-100-binary.tar.gz",
    ),
    Format(
        _batches("cifar-100-python", ["train"], "test"),
        partial(_parse_pickles, label_key=b"fine_labels"),
        archive="cifar-100-python.tar.gz",
    ),
)


# Street View House Numbers, cropped (http://ufldl.stanford.edu/housenumbers).


def parse_svhn(blob: Blob) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, 32, 32, 3] and labels of a .mat file, in which the digit 0 is labelled 10."""
    from scipy.io import loadmat  # 0.2 s, and only this data set needs it

    try:
        file = loadmat(io.BytesIO(blob.content))
        x, y = file["X"], file["y"].reshape(-1)
    except Exception as error:  # a damaged file raises anything at all
        raise UsageError(f"{blob.where}: not a MATLAB file of X and y: {error}") from error
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (32, 32, 3) or x.shape[3] != len(y):
        raise UsageError(
            f"{blob.where}: X is {x.dtype} {x.shape} for {len(y)} labels, expected uint8 (32, 32, 3, M)"
        )
    return np.ascontiguousarray(x.transpose(3, 0, 1, 2)), y.astype(np.int32) % 10


def _parse_svhns(blobs: Sequence[Blob]) -> Arrays:
    (x_train, y_train), (x_test, y_test) = map(parse_svhn, blobs)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


SVHN = (Format(("train_32x32.mat", "test_32x32.mat"), _parse_svhns),)
