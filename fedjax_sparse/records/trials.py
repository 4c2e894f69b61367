"""What the settings of a sweep have come to, a line of JSON for each seed; whole programs at a time. No JAX here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedjax_sparse.errors import RunError
from fedjax_sparse.records.writing import replace, writing

FILE = "trials.jsonl"


class Tried(NamedTuple):
    """One training of one setting.

    Attributes:
        algorithm: Its name.
        values: What was searched: option -> value.
        seed: Of the training.
        rounds: After which it was tested on the validation set.
        accuracy: Then; None where there are no classes.
        loss: Then.
        diverged_at: The round in which it diverged; None where it did not.
    """

    algorithm: str
    values: Mapping[str, Any]
    seed: int
    rounds: Sequence[int]
    accuracy: Sequence[float] | None
    loss: Sequence[float]
    diverged_at: int | None


def read(folder: Path) -> list[Tried]:
    """What has been tried, in the order in which it ended; nothing where there is no file.

    Raises:
        RunError: The file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Tried(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error}") from None


def write(folder: Path, tried: Iterable[Tried]) -> None:
    """Replaces the file: a reader, even after a crash, meets the old one or the new."""
    text = "".join(json.dumps(each._asdict()) + "\n" for each in tried)
    with writing(folder / FILE) as path:
        replace(path, text.encode())
