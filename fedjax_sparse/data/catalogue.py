"""The data sets that are known by name: what they are, where their files lie and how they are read."""

from dataclasses import dataclass
from pathlib import Path

from fedjax_sparse.data import own, raw, tables, text
from fedjax_sparse.data.arrays import Task
from fedjax_sparse.data.files import Format
from fedjax_sparse.data.labels import Wanted
from fedjax_sparse.data.synthetic import SYNTHETIC
from fedjax_sparse.errors import UsageError

_ARRAYS = "arrays x_train, y_train, x_test, y_test"


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
        task: What is predicted; None where the targets say.
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
    task: Task | None = "classification"
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
        task="text",
    ),
    "tiny_shakespeare": Entry(
        "next character in 80-character windows of 1.1 MB of Shakespeare, without roles",
        "shakespeare",
        text.TINY_SHAKESPEARE,
        task="text",
    ),
    "femnist": Entry(
        "28x28 grey handwritten digits and letters (LEAF), 62 classes",
        "femnist",
        own.npz("femnist.npz"),
        made_of=f"LEAF's FEMNIST: {_ARRAYS}; x uint8 [M, 28, 28]",
        classes=62,
    ),
    "speech_commands": Entry(
        "32x32 spectrograms of spoken words, 35 classes",
        "speech_commands",
        own.npz("speech_commands.npz"),
        made_of=f"Speech Commands v0.02: {_ARRAYS}; x uint8 [M, 32, 32], one spectrogram to an utterance",
        classes=35,
    ),
    "tiny_imagenet": Entry(
        "64x64 colour photographs, 200 classes",
        "tiny_imagenet",
        own.npz("tiny_imagenet.npz"),
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


def known_task(name: str, task: Wanted = "auto") -> Task | None:
    """What a data set that is known by name is for; None for files, whose targets say.

    Args:
        name: As of `load`.
        task: As of `load`.

    Raises:
        UsageError: The data set is for another task than is asked for.
    """
    known = (DATASETS | SYNTHETIC).get(name)
    if known is not None and task not in ("auto", known.task):
        raise UsageError(f"--task = {task!r} does not fit {name}; allowed: {known.task}")
    return known and known.task
