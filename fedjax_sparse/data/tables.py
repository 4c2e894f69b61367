"""Features in rows: LIBSVM text, and smartphone signals by person."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedjax_sparse.data.files import MOST_BYTES, Arrays, Blob, Format, read_npz
from fedjax_sparse.data.own import TEST_EVERY
from fedjax_sparse.errors import UsageError

_HAR_TEST_SUBJECTS = (2, 4, 9, 10, 12, 13, 18, 20, 24)


# LIBSVM text: one example a line, "label index:value index:value ...", indices ascending from 1
# or, as scikit-learn writes it by default, from 0.


class Sparse(NamedTuple):
    """A parsed file of M examples and their K values that are not zero.

    Attributes:
        where: The file's name.
        label: f64[M].
        row: i64[K], the example of each value, from 0.
        index: i64[K], its feature as written.
        value: f32[K].
    """

    where: str
    label: np.ndarray
    row: np.ndarray
    index: np.ndarray
    value: np.ndarray


def _parse_line(line: str) -> tuple[float, list[int], list[float]]:
    label, *pairs = line.split()
    indices, values = [], []
    for pair in pairs:
        index, _, value = pair.partition(":")
        indices.append(int(index))
        values.append(float(value))
    if any(b <= a for a, b in zip([-1, *indices], indices, strict=False)):
        raise ValueError("indices must ascend from 1, or from 0")
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
    rows = np.repeat(np.arange(len(labels)), lengths)
    return Sparse(
        blob.where, np.array(labels), rows, np.array(columns, np.int64), np.array(values, np.float32)
    )


def _dense(table: Sparse, first: int, features: int) -> np.ndarray:
    rows = len(table.label)
    last, largest = first + features - 1, table.index.max(initial=0)
    if largest > last:
        raise UsageError(f"{table.where}: a feature has index {largest}, at most {last} is allowed")
    if rows * features * 4 > MOST_BYTES:
        size = f"{rows} x {features} float32"
        raise UsageError(f"{table.where}: {size} would take more than {MOST_BYTES >> 30} GiB of memory")
    x = np.zeros((rows, features), np.float32)
    x[table.row, table.index - first] = table.value
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
    first = min(1, *(table.index.min(initial=1) for table in tables))
    width = features or max(1, *(int(table.index.max(initial=0)) + 1 - first for table in tables))
    x, label = _dense(tables[0], first, width), tables[0].label
    if len(tables) == 2:
        x_train, x_test, label_train, label_test = x, _dense(tables[1], first, width), label, tables[1].label
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
