"""What the targets of a user's own file are: classes, or numbers to be predicted. What was guessed is said."""

import warnings
from typing import Literal

import numpy as np

from fedjax_sparse.data.arrays import Task
from fedjax_sparse.errors import UsageError

Wanted = Literal["auto", "classification", "regression"]
_MOST_SHOWN = 6  # labels that a message names


def as_targets(
    where: str, train: np.ndarray, test: np.ndarray, task: Wanted = "auto", leaning: Task | None = None
) -> tuple[np.ndarray, np.ndarray, Task]:
    """Targets as they are stored, and the task that they are for.

    Names are classes, fractions are numbers to be predicted, and whole numbers can be either: as integers they are
    classes unless something else is asked for, as floats only where they look like classes (0..K-1, 1..K, or -1 and 1,
    none missing).

    Args:
        where: The data set, for messages.
        train: [M] of booleans, integers, floats or text.
        test: Likewise.
        task: What is asked for; `auto` leaves it to `leaning` and then to the above.
        leaning: What the model is for, where somebody chose one; ignored where targets cannot be that.

    Returns:
        Classes i32[M] from 0, or numbers f32[M]; of training, of testing, and which of the two.

    Raises:
        UsageError: They cannot be what is asked for, or the test set has labels that the training set lacks.
    """
    possible = _readings(where, train, test)
    if task not in ("auto", *possible):
        reason = "has fractions" if possible == ["regression"] else "holds names"
        raise UsageError(f"--task = {task!r} does not fit {where}: y_train {reason}; allowed: {possible[0]}")
    chosen = task if task != "auto" else leaning if leaning in possible else possible[0]
    guessed = task == "auto" and leaning not in possible
    if guessed and len(possible) == 2 and train.dtype.kind == "f":
        meaning = {"classification": "classes", "regression": "numbers to be predicted"}[chosen]
        _say(
            f"{where}: y_train holds whole numbers saved as floats, taken as {meaning}; "
            f"--task {'regression' if chosen == 'classification' else 'classification'} takes them otherwise"
        )
    if chosen == "regression":
        return train.astype(np.float32), test.astype(np.float32), "regression"
    return *as_classes(where, train, test), "classification"


def _readings(where: str, train: np.ndarray, test: np.ndarray) -> list[Task]:
    """The tasks that these targets can be for, the likeliest first."""
    both = (("y_train", train), ("y_test", test))
    kinds = {"text" if y.dtype.kind in "US" else "numbers" if y.dtype.kind in "biuf" else "" for _, y in both}
    if "" in kinds or len(kinds) == 2:
        raise UsageError(
            f"{where}: y_train is {train.dtype} and y_test {test.dtype}; allowed: integers, floats, or text, in both"
        )
    if kinds == {"text"}:
        return ["classification"]
    for name, y in both:
        if y.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(y)))):
            raise UsageError(f"{where}: {name} has {bad} values that are NaN or infinite")
    if not all(_whole(y) for _, y in both):
        if train.dtype.kind != "f":
            raise UsageError(f"{where}: y_train holds classes as {train.dtype}, and y_test has fractions")
        return ["regression"]
    if train.dtype.kind != "f" or _look_like_classes(train):
        return ["classification", "regression"]
    return ["regression", "classification"]


def _whole(y: np.ndarray) -> bool:
    return y.dtype.kind != "f" or bool(np.array_equal(y, np.rint(y)))


def _look_like_classes(y: np.ndarray) -> bool:
    """Whether all of 0..K-1 or 1..K occur and nothing else, or -1 and 1."""
    values = np.unique(y)
    consecutive = values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
    return bool(len(values) > 1 and (consecutive or np.array_equal(values, [-1, 1])))


def as_classes(where: str, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes i32[M] from 0: labels that start at 0 as they are, others numbered in ascending order, which is said.

    Raises:
        UsageError: Negative labels other than -1 beside 1, a label as large as the number of examples, or test labels
            that the training set lacks.
    """
    labels = np.unique(train)
    if train.dtype.kind not in "US":
        lowest = min(labels[0], test.min(initial=labels[0]))
        if lowest == 0:
            _check_from_zero(where, train, test)
            return train.astype(np.int32), test.astype(np.int32)
        if lowest < 0 and not np.array_equal(labels, [-1, 1]):
            raise UsageError(
                f"{where}: has labels {lowest:g}..{labels[-1]:g}; allowed: 0..K-1, 1..K, -1 and 1, or text"
            )
    if len(unknown := np.setdiff1d(test, labels)):
        raise UsageError(
            f"{where}: y_test has the label {_shown(unknown[:1])}, which is not among those of y_train"
        )
    _say(f"{where}: the labels {_shown(labels)} are taken as classes 0..{len(labels) - 1}, in this order")
    return np.searchsorted(labels, train).astype(np.int32), np.searchsorted(labels, test).astype(np.int32)


def _check_from_zero(where: str, train: np.ndarray, test: np.ndarray) -> None:
    largest = train.max()
    if largest >= len(train):
        raise UsageError(
            f"{where}: y_train has the label {largest:g} among {len(train)} examples; allowed: 0..classes-1"
        )
    if test.max(initial=0) > largest:
        raise UsageError(f"{where}: y_test has labels 0..{test.max():g}; allowed: 0..{largest:g}")


def _shown(labels: np.ndarray) -> str:
    """The labels in ascending order; those in the middle of a long list are left out."""
    names = [f"{label:g}" if labels.dtype.kind == "f" else str(label) for label in labels.tolist()]
    return ", ".join(names if len(names) <= _MOST_SHOWN else [*names[:3], "...", names[-1]])


def _say(note: str) -> None:
    warnings.warn(note, stacklevel=2)
