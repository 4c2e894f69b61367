"""Data sets by name: the arrays of whole training and test sets, read from local files. Nothing is ever downloaded."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from fedjax_sparse.data import cache, images, labels, own_files, synthetic, tables, tfds
from fedjax_sparse.data.arrays import Dataset, Task
from fedjax_sparse.data.catalogue import DATASETS, Entry, known_task
from fedjax_sparse.data.columns import NOT_STATED, Roles
from fedjax_sparse.data.files import Arrays, existing, read_file
from fedjax_sparse.errors import UsageError, unknown_name

__all__ = ["DATASETS", "Dataset", "Entry", "known_task", "load"]

_LIBSVM_SUFFIXES = (".libsvm", ".svm", ".libsvm.gz", ".svm.gz")
_DIGITS_TEST_EVERY = 5


class _Source(NamedTuple):
    """Files and how to read them."""

    paths: Sequence[Path]
    read: Callable[[], Arrays]


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    task: labels.Wanted = "auto",
    leaning: Task | None = None,
    roles: Roles = NOT_STATED,
) -> Dataset:
    """Reads a data set.

    Args:
        name: One of `DATASETS`; a name that starts with "synthetic" (see `synthetic.load`); a path of one's own, see
            `own_files`, or one that ends in `.libsvm` or `.svm` (or `.gz` after these two); or the name, `name` or
            `name/config`, of an image classification set that tensorflow-datasets has prepared in the data folder.
        data_dir: The data folder; by default the one named by FEDJAX_SPARSE_DATA.
        cache_dir: Where decoded arrays are kept; by default as `cache.folder` says.
        task: What targets are that could be classes or numbers to be predicted; see `labels.as_targets`.
        leaning: What they are where `task` is auto and they could be both.
        roles: Which columns of a table hold labels and owners.

    Returns:
        Read-only arrays. Digits and those from the data folder are memory-mapped from the second time on.

    Raises:
        UsageError: The name is unknown; files are missing (the message says which and where), damaged, or hold
            something else.
    """
    known_task(name, task)
    own_reader = None if name in DATASETS else own_files.reader(name, roles)
    if own_reader is not None:  # not cached: what was made of it must be said each time
        entry = Entry("of one's own", task=None)
        return _dataset(name, _read(_Source([], own_reader), entry), entry, task, leaning)
    own_files.check_no_columns(name, roles)
    if name.startswith("synthetic"):
        return synthetic.load(name)
    if name == "digits":
        entry, source = DATASETS[name], _Source([], _digits)
    elif name.endswith(_LIBSVM_SUFFIXES):
        entry, source = Entry("a LIBSVM file", task=None), _libsvm_source(Path(name).expanduser())
    else:
        entry = DATASETS.get(name, Entry("prepared by tensorflow-datasets", name, prepared="."))
        source = _find(name, entry, _data_folder(data_dir))
    read = partial(_read, source, entry)
    arrays = cache.cached(cache.folder(cache_dir), name, source.paths, read)
    return _dataset(name, arrays, entry, task, leaning)


def _data_folder(data_dir: str | Path | None) -> Path | None:
    given = data_dir or os.environ.get("FEDJAX_SPARSE_DATA")
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise UsageError(f"there is no data folder {folder}")
    return folder


def _find(name: str, entry: Entry, data_folder: Path | None) -> _Source:
    if data_folder is None:
        if name not in DATASETS:
            _unknown(name, "DATA_DIR")
        raise UsageError(
            f"{name}: no data folder; set --data-dir or FEDJAX_SPARSE_DATA to a DATA_DIR with {entry.where}"
        )
    folder = data_folder / entry.folder
    found = [(form, form.find(folder)) for form in entry.formats]
    for form, paths in found:
        if form.is_complete(paths):
            return _Source(paths, partial(form.read, paths))
    if entry.prepared and (
        prepared := tfds.find(data_folder / name) or tfds.find(data_folder / f"{name}_raw")
    ):
        return _Source(sorted(prepared.iterdir()), partial(tfds.read, prepared))
    if name not in DATASETS:
        _unknown(name, str(data_folder))
    nearest, paths = max(found, key=lambda pair: len(pair[1]))
    lacking = f"{folder}/ lacks {nearest.missing(folder)}" if paths else f"nothing is in {folder}/"
    raise UsageError(f"{name}: {lacking}; put there {entry.forms}")


def _unknown(name: str, data_folder: str) -> NoReturn:
    if configs := [known for known in DATASETS if known.startswith(f"{name}/")]:
        raise UsageError(f"data set {name!r} comes in several forms; allowed: {', '.join(configs)}")
    prepared = f"{data_folder}/{name}/VERSION/ prepared by tensorflow-datasets"
    known = [*DATASETS, "synthetic...", *own_files.FORMS, "FILE.libsvm", prepared]
    unknown_name("data set", name, known)


def _libsvm_source(path: Path) -> _Source:
    # LIBSVM's own convention: the test set of FILE is FILE.t.
    existing(path)
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    tests = (plain.with_name(plain.name + ending) for ending in (".t", ".t.gz"))
    paths = [path, *(test for test in tests if test.is_file())][:2]
    return _Source(paths, lambda: tables.parse_libsvm_set([read_file(p) for p in paths]))


def _read(source: _Source, entry: Entry) -> Arrays:
    """Reads arrays and gives them the package's types; with the moments of the images unless they are published."""
    arrays = source.read()
    for name in ("y_train", "y_test"):
        if entry.task is not None and arrays[name].dtype.kind in "iu":
            arrays[name] = arrays[name].astype(np.int32) - entry.first_label
    if arrays["x_train"].dtype == np.uint8 and entry.mean is None:
        arrays["moments"] = images.moments(arrays["x_train"])
    return arrays


def _dataset(name: str, arrays: Arrays, entry: Entry, wanted: labels.Wanted, leaning: Task | None) -> Dataset:
    arrays = dict(arrays)
    moments = arrays.pop("moments", None)
    task: Task | None = entry.task
    if task is None and arrays["y_train"].ndim == 2:
        task = "text"
    elif task is None:
        arrays["y_train"], arrays["y_test"], task = labels.as_targets(
            name, arrays["y_train"], arrays["y_test"], wanted, leaning
        )
    for array in arrays.values():
        array.flags.writeable = False  # as those that the cache maps are
    x, y = arrays["x_train"], arrays["y_train"]
    sizes = (len(x), len(arrays["x_test"]))
    if entry.sizes is not None and sizes != entry.sizes:
        expected = "{} and {}".format(*entry.sizes)
        raise UsageError(f"{name}: {sizes[0]} training and {sizes[1]} test examples, expected {expected}")
    mean, std = entry.mean, entry.std
    if moments is not None:
        mean, std = (tuple(map(float, row)) for row in moments)
    return Dataset(
        name,
        x,
        y,
        arrays["x_test"],
        arrays["y_test"],
        task,
        entry.classes or _count_classes(task, x, y),
        arrays.get("client_train"),
        mean or (0.0,),
        std or (1.0,),
    )


def _count_classes(task: Task, x: np.ndarray, y: np.ndarray) -> int:
    if task == "regression":
        return 1
    if task == "text":
        return 1 + int(max(x.max(initial=0), y.max(initial=0)))
    return 1 + int(y.max(initial=0))


def _digits() -> Arrays:
    """Every fifth image of the images sorted by class (each class in its original order) is for testing."""
    from sklearn.datasets import load_digits  # takes most of a second to import: the cache spares it

    x, y = load_digits(return_X_y=True)
    x = x.astype(np.uint8).reshape(-1, 8, 8, 1)  # values 0..16
    order = np.argsort(y, kind="stable")
    test = np.zeros(len(y), bool)
    test[order[::_DIGITS_TEST_EVERY]] = True
    return {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}
