"""Data sets by name: the arrays of whole training and test sets, read from local files. Nothing is ever downloaded."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from fedjax_sparse.data import cache, raw, tables, text, tfds
from fedjax_sparse.data.arrays import Dataset, Task
from fedjax_sparse.data.files import Arrays, Format, read_file
from fedjax_sparse.errors import UsageError, unknown_name

__all__ = ["DATASETS", "Dataset", "Entry", "load"]

_LIBSVM_SUFFIXES = (".libsvm", ".svm", ".libsvm.gz", ".svm.gz")
_DIGITS_TEST_EVERY = 5
_ARRAYS = "arrays x_train, y_train, x_test, y_test"
_MOMENTS_BLOCK = 4096  # examples at a time


@dataclass(frozen=True)
class Entry:
    """What is known of a data set before its files are read.

    Attributes:
        description: One line.
        folder: Where its files are, below the data folder; empty if it needs none.
        formats: The forms in which its files are read, the first complete one being used.
        made_of: For files that nobody distributes: of what they are made, and what is in them.
        prepared: Where tensorflow-datasets' VERSION/ may be, below `folder`; None if it has no such set.
        natural: Whether its training examples have natural owners.
        classes: Outputs of a model; None where the data say (the vocabulary of a text).
        sizes: Training and test examples; None where distributions differ.
        first_label: The label of class 0 in the files.
        mean: Of each channel of x / 255; None where it is computed from the training set.
        std: Likewise.
    """

    description: str
    folder: str = ""
    formats: tuple[Format, ...] = ()
    made_of: str = ""
    prepared: str | None = None
    natural: bool = False
    classes: int | None = None
    sizes: tuple[int, int] | None = None
    first_label: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def where(self) -> str:
        """Where its files are looked for, for people; the data folder is called DATA_DIR."""
        if not self.folder:
            return "embedded: no files needed"
        return f"DATA_DIR/{self.folder}/: {self.forms}"

    @property
    def forms(self) -> str:
        """The files to put there, for people."""
        forms = [f"{form}{self.made_of and ', made of '}{self.made_of}" for form in self.formats]
        if self.prepared:
            forms.append(
                f"{Path(self.prepared, 'VERSION')}/ as prepared by tensorflow-datasets in ArrayRecord"
            )
        return "; or ".join(forms)


def _emnist(
    config: str, description: str, classes: int, sizes: tuple[int, int] | None, first_label: int = 0
) -> Entry:
    return Entry(
        f"28x28 grey handwritten {description} (NIST), {classes} classes; images lie transposed, as distributed",
        "emnist",
        raw.emnist(config),
        prepared=config,
        classes=classes,
        sizes=sizes,
        first_label=first_label,
    )


DATASETS: dict[str, Entry] = {
    "digits": Entry(
        "8x8 grey handwritten digits, 1,437 + 360, 10 classes, embedded in scikit-learn", classes=10
    ),
    "mnist": Entry(
        "28x28 grey handwritten digits, 60,000 + 10,000, 10 classes",
        "mnist",
        raw.MNIST,
        prepared=".",
        classes=10,
        sizes=(60_000, 10_000),
        mean=(0.1307,),
        std=(0.3081,),
    ),
    "fashion_mnist": Entry(
        "28x28 grey clothes, 60,000 + 10,000, 10 classes",
        "fashion_mnist",
        raw.MNIST,
        prepared=".",
        classes=10,
        sizes=(60_000, 10_000),
        mean=(0.2860,),
        std=(0.3530,),
    ),
    "emnist/byclass": _emnist("byclass", "digits and letters", 62, (697_932, 116_323)),
    "emnist/bymerge": _emnist("bymerge", "digits and letters, look-alikes merged", 47, (697_932, 116_323)),
    "emnist/balanced": _emnist("balanced", "digits and letters, equally many of each", 47, (112_800, 18_800)),
    "emnist/letters": _emnist("letters", "letters", 26, None, first_label=1),
    "emnist/digits": _emnist("digits", "digits", 10, (240_000, 40_000)),
    "emnist/mnist": _emnist("mnist", "digits of MNIST", 10, (60_000, 10_000)),
    "cifar10": Entry(
        "32x32 colour photographs, 50,000 + 10,000, 10 classes",
        "cifar10",
        raw.CIFAR10,
        prepared=".",
        classes=10,
        sizes=(50_000, 10_000),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": Entry(
        "32x32 colour photographs, 50,000 + 10,000, 100 classes",
        "cifar100",
        raw.CIFAR100,
        prepared=".",
        classes=100,
        sizes=(50_000, 10_000),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    "svhn_cropped": Entry(
        "32x32 colour house numbers, 73,257 + 26,032, 10 classes",
        "svhn_cropped",
        raw.SVHN,
        prepared=".",
        classes=10,
        sizes=(73_257, 26_032),
    ),
    "uci_har": Entry(
        "128 samples of 9 smartphone signals, 7,352 + 2,947, 6 activities, by person (21 in training)",
        "uci_har",
        tables.UCI_HAR,
        natural=True,
        classes=6,
        sizes=(7_352, 2_947),
    ),
    "shakespeare": Entry(
        "next character in 80-character windows of Shakespeare's plays, by role (at least 1,000 characters each)",
        "shakespeare",
        text.SHAKESPEARE,
        natural=True,
    ),
    "tiny_shakespeare": Entry(
        "next character in 80-character windows of 1.1 MB of Shakespeare, without roles",
        "shakespeare",
        text.TINY_SHAKESPEARE,
    ),
    "femnist": Entry(
        "28x28 grey handwritten digits and letters (LEAF), 62 classes",
        "femnist",
        tables.npz("femnist.npz"),
        made_of=f"LEAF's FEMNIST: {_ARRAYS}; x uint8 [M, 28, 28]",
        classes=62,
    ),
    "speech_commands": Entry(
        "32x32 spectrograms of spoken words, 35 classes",
        "speech_commands",
        tables.npz("speech_commands.npz"),
        made_of=f"Speech Commands v0.02: {_ARRAYS}; x uint8 [M, 32, 32], one spectrogram to an utterance",
        classes=35,
    ),
    "tiny_imagenet": Entry(
        "64x64 colour photographs, 200 classes",
        "tiny_imagenet",
        tables.npz("tiny_imagenet.npz"),
        made_of=f"Tiny-ImageNet-200: {_ARRAYS}; x uint8 [M, 64, 64, 3], its validation images for testing",
        classes=200,
    ),
    "a9a": Entry(
        "census incomes, 32,561 + 16,281, 123 binary features, 2 classes",
        "libsvm",
        tables.libsvm("a9a.gz", "a9a.t.gz", features=123),
        classes=2,
        sizes=(32_561, 16_281),
    ),
    "w8a": Entry(
        "web pages, 39,800 + 9,949 (every fifth row), 300 binary features, 2 classes",
        "libsvm",
        tables.libsvm("w8a.gz", features=300),
        classes=2,
        sizes=(39_800, 9_949),
    ),
    "mushrooms": Entry(
        "edible or poisonous mushrooms, 6,500 + 1,624 (every fifth row), 112 binary features, 2 classes",
        "libsvm",
        tables.libsvm("mushrooms.gz", features=112),
        classes=2,
        sizes=(6_500, 1_624),
    ),
    "phishing": Entry(
        "phishing web sites, 8,844 + 2,211 (every fifth row), 68 features, 2 classes",
        "libsvm",
        tables.libsvm("phishing.gz", features=68),
        classes=2,
        sizes=(8_844, 2_211),
    ),
}


class _Source(NamedTuple):
    """Files and how to read them."""

    paths: Sequence[Path]
    read: Callable[[], Arrays]


def load(name: str, *, data_dir: str | Path | None = None, cache_dir: str | Path | None = None) -> Dataset:
    """Reads a data set.

    Args:
        name: One of `DATASETS`; a name that starts with "synthetic" (see `synthetic.load`); a path that ends in
            `.npz`, `.libsvm` or `.svm` (or `.gz` after these two); or the name, `name` or `name/config`, of an image
            classification set that tensorflow-datasets has prepared in the data folder.
        data_dir: The data folder; by default the one named by FEDJAX_SPARSE_DATA.
        cache_dir: Where decoded arrays are kept; by default as `cache.folder` says.

    Returns:
        Read-only arrays. Digits and those from the data folder are memory-mapped from the second time on.

    Raises:
        UsageError: The name is unknown; files are missing (the message says which and where), damaged, or hold
            something else.
    """
    if name.startswith("synthetic"):
        from fedjax_sparse.data import synthetic  # which imports this module

        return synthetic.load(name)
    if name.endswith(".npz"):  # not cached: it is as quick, and what is wrong with it must be said each time
        path, entry = Path(name).expanduser(), Entry("an npz file")
        if not path.is_file():
            raise UsageError(f"{path}: no such file")
        return _dataset(name, _read(_Source([path], lambda: tables.parse_npz(read_file(path))), entry), entry)
    if name == "digits":
        entry, source = DATASETS[name], _Source([], _digits)
    elif name.endswith(_LIBSVM_SUFFIXES):
        entry, source = Entry("a LIBSVM file"), _libsvm_source(Path(name).expanduser())
    else:
        entry = DATASETS.get(name, Entry("prepared by tensorflow-datasets", name, prepared="."))
        source = _find(name, entry, _data_folder(data_dir))
    read = partial(_read, source, entry)
    return _dataset(name, cache.cached(cache.folder(cache_dir), name, source.paths, read), entry)


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
    unknown_name("data set", name, [*DATASETS, "synthetic...", "FILE.npz", "FILE.libsvm", prepared])


def _libsvm_source(path: Path) -> _Source:
    # LIBSVM's own convention: the test set of FILE is FILE.t.
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    tests = (plain.with_name(plain.name + ending) for ending in (".t", ".t.gz"))
    paths = [path, *(test for test in tests if test.is_file())][:2]
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return _Source(paths, lambda: tables.parse_libsvm_set([read_file(p) for p in paths]))


def _read(source: _Source, entry: Entry) -> Arrays:
    """Reads arrays and gives them the package's types; with the moments of the images unless they are published."""
    arrays = source.read()
    for name in ("y_train", "y_test"):
        if arrays[name].dtype.kind in "iu":
            arrays[name] = arrays[name].astype(np.int32) - entry.first_label
    if arrays["x_train"].dtype == np.uint8 and entry.mean is None:
        arrays["moments"] = _moments(arrays["x_train"])
    return arrays


def _dataset(name: str, arrays: Arrays, entry: Entry) -> Dataset:
    arrays = dict(arrays)
    moments = arrays.pop("moments", None)
    for array in arrays.values():
        array.flags.writeable = False  # as those that the cache maps are
    x, y = arrays["x_train"], arrays["y_train"]
    sizes = (len(x), len(arrays["x_test"]))
    if entry.sizes is not None and sizes != entry.sizes:
        expected = "{} and {}".format(*entry.sizes)
        raise UsageError(f"{name}: {sizes[0]} training and {sizes[1]} test examples, expected {expected}")
    task: Task = "regression" if y.dtype.kind == "f" else "text" if y.ndim == 2 else "classification"
    mean, std = entry.mean, entry.std
    if moments is not None:
        mean, std = (tuple(map(float, row)) for row in moments)
    return Dataset(
        name=name,
        **arrays,
        task=task,
        classes=entry.classes or _count_classes(name, task, x, y),
        mean=mean or (0.0,),
        std=std or (1.0,),
    )


def _count_classes(name: str, task: Task, x: np.ndarray, y: np.ndarray) -> int:
    if task == "regression":
        return 1
    if task == "text":
        return 1 + int(max(x.max(initial=0), y.max(initial=0)))
    classes = 1 + int(y.max(initial=0))
    if classes > len(y):
        raise UsageError(
            f"{name}: y_train has the label {classes - 1} among {len(y)} examples; allowed: 0..classes-1"
        )
    return classes


def _moments(x: np.ndarray) -> np.ndarray:
    """Mean and standard deviation f64[2, C] of each channel of x / 255 for uint8 x, exact sums of integers."""
    values = np.arange(256)
    histogram = np.zeros((x.shape[-1], 256), np.int64)
    for start in range(0, len(x), _MOMENTS_BLOCK):
        block = x[start : start + _MOMENTS_BLOCK].reshape(-1, x.shape[-1])
        histogram += [np.bincount(channel, minlength=256) for channel in block.T]
    count = histogram.sum(axis=1)
    mean = histogram @ values / count
    std = np.sqrt(np.maximum(histogram @ values**2 / count - mean**2, 0.0))
    return np.stack([mean, np.where(std > 0, std, 255.0)]) / 255  # a constant channel is only shifted


def _digits() -> Arrays:
    """Every fifth image of the images sorted by class (each class in its original order) is for testing."""
    from sklearn.datasets import load_digits  # takes most of a second to import: the cache spares it

    x, y = load_digits(return_X_y=True)
    x = x.astype(np.uint8).reshape(-1, 8, 8, 1)  # values 0..16
    order = np.argsort(y, kind="stable")
    test = np.zeros(len(y), bool)
    test[order[::_DIGITS_TEST_EVERY]] = True
    return {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}
