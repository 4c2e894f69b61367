"""Features in rows: LIBSVM text, npz files of one's own, and smartphone signals by person."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedjax_sparse.data.files import MOST_BYTES, Arrays, Blob, Format, read_npz
from fedjax_sparse.errors import UsageError

TEST_EVERY = 5  # of a file without a test set, rows 4, 9, 14, ... (from 0) are for testing
_HAR_TEST_SUBJECTS = (2, 4, 9, 10, 12, 13, 18, 20, 24)


# LIBSVM text: one example a line, "label index:value index:value ...", indices ascending from 1.


class Sparse(NamedTuple):
    """A parsed file of M examples and their K values that are not zero.

    Attributes:
        where: The file's name.
        label: f64[M].
        row: i64[K], the example of each value, from 0.
        column: i64[K], its feature, from 0.
        value: f32[K].
        features: The largest feature plus one.
    """

    where: str
    label: np.ndarray
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    features: int


def _parse_line(line: str) -> tuple[float, list[int], list[float]]:
    label, *pairs = line.split()
    indices, values = [], []
    for pair in pairs:
        index, _, value = pair.partition(":")
        indices.append(int(index))
        values.append(float(value))
    if any(b <= a for a, b in zip([0, *indices], indices, strict=False)):
        raise ValueError("indices must ascend from 1")
    if not all(map(math.isfinite, [float(label), *values])):
        raise ValueError("a value is not finite")
    return float(label), indices, values


def parse_libsvm(blob: Blob) -> Sparse:
    """Parses LIBSVM text; what follows a # is left out, and so are blank lines."""
    labels, lengths, columns, values = [], [], [], []
    for number, line in enumerate(blob.text.split("\n"), 1):
        line = line.partition("#")[0]
        if not line.strip():
            continue
        try:
            label, indices, row = _parse_line(line)
        except ValueError as error:
            raise UsageError(f"{blob.where}, line {number}: not 'label index:value ...': {error}") from error
        labels.append(label)
        lengths.append(len(indices))
        columns.extend(indices)
        values.extend(row)
    if not labels:
        raise UsageError(f"{blob.where}: holds no example")
    column = np.array(columns, np.int64) - 1
    rows = np.repeat(np.arange(len(labels)), lengths)
    features = int(column.max(initial=-1)) + 1
    return Sparse(blob.where, np.array(labels), rows, column, np.array(values, np.float32), features)


def _dense(table: Sparse, features: int) -> np.ndarray:
    rows = len(table.label)
    if table.features > features:
        raise UsageError(
            f"{table.where}: a feature has index {table.features}, at most {features} is allowed"
        )
    if rows * features * 4 > MOST_BYTES:
        size = f"{rows} x {features} float32"
        raise UsageError(f"{table.where}: {size} would take more than {MOST_BYTES >> 30} GiB of memory")
    x = np.zeros((rows, features), np.float32)
    x[table.row, table.column] = table.value
    return x


def parse_libsvm_set(blobs: Sequence[Blob], features: int | None = None) -> Arrays:
    """A training file, and a test file or every fifth row of the training file.

    Args:
        blobs: One file or two.
        features: D; by default the largest index found.

    Returns:
        Labels are as in the files: i64[M] where all are whole numbers, else f64[M].
    """
    tables = [parse_libsvm(blob) for blob in blobs]
    width = features or max(1, *(table.features for table in tables))
    x, label = _dense(tables[0], width), tables[0].label
    if len(tables) == 2:
        x_train, x_test, label_train, label_test = x, _dense(tables[1], width), label, tables[1].label
    else:
        held = np.arange(len(x)) % TEST_EVERY == TEST_EVERY - 1
        x_train, x_test, label_train, label_test = x[~held], x[held], label[~held], label[held]
    if all(np.array_equal(label, np.rint(label)) for label in (label_train, label_test)):
        label_train, label_test = label_train.astype(np.int64), label_test.astype(np.int64)
    return {"x_train": x_train, "y_train": label_train, "x_test": x_test, "y_test": label_test}


def libsvm(*files: str, features: int) -> tuple[Format, ...]:
    """A published classification set of known width; labels become 0, 1, ... in ascending order."""

    def parse(blobs: Sequence[Blob]) -> Arrays:
        arrays = parse_libsvm_set(blobs, features)
        _, classes = np.unique(np.concatenate([arrays["y_train"], arrays["y_test"]]), return_inverse=True)
        train = len(arrays["y_train"])
        return arrays | {"y_train": classes[:train], "y_test": classes[train:]}

    return (Format(files, parse),)


# npz files of the user's own.


def parse_npz(blob: Blob) -> Arrays:
    """Arrays of a user's npz file, in the package's own types.

    uint8 x are images [M, H, W] or [M, H, W, C]; floating-point x are features, made float32; integer x with y of the
    same shape [M, T] are text. Integer y are classes (or characters, -1 ignored), floating-point y a regression's
    targets.
    """
    arrays = read_npz(blob, ("x_train", "y_train", "x_test", "y_test"), ("client_train",))
    for name, array in arrays.items():
        if array.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(array)))):
            raise UsageError(f"{blob.where}: {name} has {bad} values that are NaN or infinite")
    for split in ("train", "test"):
        x, y = f"x_{split}", f"y_{split}"
        arrays[x] = _own_x(f"{blob.where}: {x}", arrays[x], arrays[y])
        if arrays[x].dtype.kind == "i":  # text
            arrays[y] = _int32(f"{blob.where}: {y}", arrays[y])
    if "client_train" in arrays:
        arrays["client_train"] = _int32(f"{blob.where}: client_train", arrays["client_train"])
    return arrays


def npz(name: str) -> tuple[Format, ...]:
    """A data set that somebody has to make: an npz file like a user's own."""
    return (Format((name,), lambda blobs: parse_npz(blobs[0])),)


def _own_x(where: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        return x[..., None] if x.ndim == 3 else x
    if x.dtype.kind == "f" and x.ndim >= 2:
        with np.errstate(over="ignore"):
            features = x.astype(np.float32)
        if not np.isfinite(features).all():
            raise UsageError(f"{where} has values beyond the range of float32")
        return features
    if x.dtype.kind in "iu" and x.ndim == 2 and x.shape == y.shape:
        return _int32(where, x)
    allowed = "uint8 images [M, H, W] or [M, H, W, C], floating-point features [M, D], integer text [M, T] like its y"
    raise UsageError(f"{where} is {x.dtype} of shape {x.shape}; allowed: {allowed}")


def _int32(where: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iub":
        raise UsageError(f"{where} is {array.dtype}, expected integers")
    limit = np.iinfo(np.int32).max
    if array.size and not -1 <= int(array.min()) <= int(array.max()) <= limit:
        raise UsageError(f"{where} ranges from {array.min()} to {array.max()}, outside 0..{limit}")
    return array.astype(np.int32)


# UCI HAR: nine signals of a smartphone at the waist of 30 people (Anguita et al., ESANN 2013).


def _parse_har(blobs: Sequence[Blob]) -> Arrays:
    where = blobs[0].where
    file = read_npz(blobs[0], ("signals", "scale", "activity", "subject"))
    signals, scale, activity, subject = (file[name] for name in ("signals", "scale", "activity", "subject"))
    count = len(activity)
    shapes = (signals.shape, scale.shape, activity.shape, subject.shape)
    if shapes != ((9, count, 128), (9,), (count,), (count,)):
        raise UsageError(f"{where}: shapes {shapes}, expected (9, M, 128), (9,), (M,), (M,)")
    x = np.ascontiguousarray(signals.transpose(1, 2, 0) * scale.astype(np.float32), np.float32)
    test = np.isin(subject, _HAR_TEST_SUBJECTS)
    _, owner = np.unique(subject[~test], return_inverse=True)
    return {
        "x_train": x[~test],
        "y_train": activity[~test],
        "x_test": x[test],
        "y_test": activity[test],
        "client_train": owner.astype(np.int32),
    }


UCI_HAR = (Format(("uci_har.npz",), _parse_har),)
