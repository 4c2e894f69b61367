"""Text for next-character prediction: windows of characters and the characters that follow."""

import json
from collections.abc import Iterable, Sequence

import numpy as np

from fedjax_sparse.data.files import Arrays, Blob, Format
from fedjax_sparse.errors import UsageError

WINDOW = 80  # characters of input in an example
LEAST_CHARACTERS = 1_000  # of speech; a role with fewer is left out
UNKNOWN = 0  # the index of characters that the training text lacks, and of input padding
IGNORED = -1  # the target where a window is padded


def split(text: str) -> tuple[str, str]:
    """Cuts a text between two windows: its last tenth of windows (rounded down, at least one) is for testing.

    The character at the cut would be both the target of the last training window and an input of the first test
    window. It is an input only, so that the two parts share no character.
    """
    count = -(-(len(text) - 1) // WINDOW)
    cut = WINDOW * (count - max(1, count // 10))
    return text[:cut], text[cut:]


def windows(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts character codes i32[L] into inputs and targets i32[M, WINDOW], the last window padded."""
    count = -(-(len(codes) - 1) // WINDOW)
    x = np.full(count * WINDOW, UNKNOWN, np.int32)
    y = np.full(count * WINDOW, IGNORED, np.int32)
    x[: len(codes) - 1] = codes[:-1]
    y[: len(codes) - 1] = codes[1:]
    return x.reshape(-1, WINDOW), y.reshape(-1, WINDOW)


def _encode(text: str, vocabulary: dict[str, int]) -> np.ndarray:
    return np.array([vocabulary.get(character, UNKNOWN) for character in text], np.int32)


def _arrays(texts: Sequence[str]) -> tuple[Arrays, np.ndarray]:
    """The examples of some texts, each split for itself, and the text that each training example comes from.

    The vocabulary is the sorted set of characters of the training parts, numbered from 1.
    """
    train, test = zip(*map(split, texts), strict=True)
    characters = sorted(set().union(*train))
    vocabulary = {character: index for index, character in enumerate(characters, 1)}
    train_parts = [windows(_encode(part, vocabulary)) for part in train]
    test_parts = [windows(_encode(part, vocabulary)) for part in test]
    arrays = {
        "x_train": np.concatenate([x for x, _ in train_parts]),
        "y_train": np.concatenate([y for _, y in train_parts]),
        "x_test": np.concatenate([x for x, _ in test_parts]),
        "y_test": np.concatenate([y for _, y in test_parts]),
    }
    return arrays, np.repeat(np.arange(len(texts), dtype=np.int32), [len(x) for x, _ in train_parts])


def read_roles(blob: Blob) -> dict[tuple[str, str], list[str]]:
    """The speeches of each (play, speaker), in the order of first appearance, from JSON lines."""
    roles: dict[tuple[str, str], list[str]] = {}
    for number, line in enumerate(blob.text.split("\n"), 1):
        if not line:
            continue
        try:
            speech = json.loads(line)
            play, speaker, text = (str(speech[key]) for key in ("play", "speaker", "text"))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{blob.where}, line {number}: not an object of play, speaker, text: {error!r}"
            ) from error
        roles.setdefault((play, speaker), []).append(text)
    return roles


def _long_enough(roles: Iterable[list[str]]) -> list[str]:
    return ["\n".join(speeches) for speeches in roles if sum(map(len, speeches)) >= LEAST_CHARACTERS]


def _parse_roles(blobs: Sequence[Blob]) -> Arrays:
    texts = _long_enough(read_roles(blobs[0]).values())
    if not texts:
        raise UsageError(f"{blobs[0].where}: no role has {LEAST_CHARACTERS} characters")
    arrays, owner = _arrays(texts)
    return arrays | {"client_train": owner}


def _parse_plain(blobs: Sequence[Blob]) -> Arrays:
    text = blobs[0].text
    if len(text) < LEAST_CHARACTERS:
        raise UsageError(f"{blobs[0].where}: {len(text)} characters; at least {LEAST_CHARACTERS} are needed")
    return _arrays([text])[0]


SHAKESPEARE = (Format(("speeches.jsonl.gz",), _parse_roles),)
TINY_SHAKESPEARE = (Format(("input.txt",), _parse_plain),)
