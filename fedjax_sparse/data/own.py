"""Arrays of one's own, under the names and in the shapes in which other libraries save them.

What had to be changed to make sense of them is said in a note; what can mean two things is refused by its name.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fedjax_sparse.data.files import Arrays, Blob, Format, open_npz, read_member
from fedjax_sparse.errors import UsageError

TEST_EVERY = 5  # of data without a test set, rows 4, 9, 14, ... (from 0) are for testing
CLIENTS = "client_train"
_X = ("x", "images", "image", "data", "features", "inputs")
_Y = ("y", "labels", "label", "targets", "target")
_TRAIN, _TEST, _WHOLE = ("train", "training"), ("test", "testing", "val", "valid", "validation"), ("",)
_CHANNELS = (1, 3, 4)
_LARGE = 100.0  # features beyond this are hardly meant to be trained on as they are


def parse_npz(blob: Blob) -> Arrays:
    """Arrays of a user's npz file, in the package's own types.

    Images become uint8 [M, H, W, C] where they hold whole numbers from 0 to 255, else floats; other floats and booleans
    are features; integer x with y of the same shape [M, T] are text. Labels become [M]; what they mean is for
    `labels.as_targets`.

    Raises:
        UsageError: An array is missing, damaged, or of a form that could mean two things or nothing.
    """
    with open_npz(blob) as file:
        names = _names(blob.where, file.files)
        if spare := sorted(set(file.files) - {*names.values()}):
            say(f"{blob.where}: {', '.join(spare)} not used")
        arrays = {role: read_member(blob.where, file, name) for role, name in names.items()}
    return arranged(blob.where, arrays, names)


def arranged(where: str, arrays: Arrays, names: Mapping[str, str]) -> Arrays:
    """Training and test examples in the package's own types, see `parse_npz`.

    Args:
        where: The file or folder, for messages.
        arrays: x_train, y_train, x_test and y_test, or x and y, which are `split`; client_train where there are owners.
        names: What people call them.

    Raises:
        UsageError: An array is of a form that could mean two things or nothing.
    """
    if "x" in arrays:
        arrays = split(where, arrays)
    for part, of in {"train": "training", "test": "test"}.items():
        called = [
            names.get(f"{role}_{part}", f"{names.get(role, role)} of the {of} examples") for role in "xy"
        ]
        x, y = (f"{where}: {name}" for name in called)
        given_x, given_y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if _is_text(given_x, given_y):
            arrays[f"x_{part}"], arrays[f"y_{part}"] = _int32(x, given_x), _int32(y, given_y)
        else:
            arrays[f"x_{part}"] = _examples(x, given_x)
            arrays[f"y_{part}"] = _labels(y, given_y, len(given_x))
    if CLIENTS in arrays:
        arrays[CLIENTS] = _owners(f"{where}: {names.get(CLIENTS, CLIENTS)}", arrays[CLIENTS])
    return arrays


def npz(name: str) -> tuple[Format, ...]:
    """A data set that somebody has to make: an npz file like a user's own."""
    return (Format((name,), lambda blobs: parse_npz(blobs[0])),)


def _names(where: str, held: Sequence[str]) -> dict[str, str]:
    """Role (x_train, y_train, x_test, y_test or x, y; client_train) -> name of the array that has it."""
    flat = {name.lower().replace("_", "").replace("-", ""): name for name in held}

    def find(words: Iterable[str], splits: Iterable[str]) -> str | None:
        keys = (key for split in splits for word in words for key in (word + split, split + word))
        return next((flat[key] for key in keys if key in flat), None)

    found = {
        f"{role}_{split}": find(words, splits)
        for role, words in (("x", _X), ("y", _Y))
        for split, splits in (("train", _TRAIN), ("test", _TEST))
    }
    whole = {"x": find(_X, _WHOLE), "y": find(_Y, _WHOLE)}
    if not any(found.values()) and all(whole.values()):
        found = whole
    if missing := sorted(role for role, name in found.items() if name is None):
        if any(name.endswith("data.pkl") for name in held):
            raise UsageError(f"{where}: written by torch.save; allowed: what numpy.savez writes")
        raise UsageError(
            f"{where}: lacks {', '.join(missing)} (holds {', '.join(sorted(held)) or 'nothing'})"
        )
    clients = {CLIENTS: CLIENTS} if CLIENTS in held else {}
    return {role: name for role, name in found.items() if name is not None} | clients


def split(where: str, arrays: Arrays) -> Arrays:
    """Training and test examples of arrays that hold both: every fifth is for testing."""
    if arrays["x"].ndim == 0 or len({len(array) if array.ndim else 0 for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise UsageError(f"{where}: unequal numbers of examples: {shapes}")
    say(f"{where}: has no test set: every {TEST_EVERY}th example is for testing")
    held = np.arange(len(arrays["x"])) % TEST_EVERY == TEST_EVERY - 1
    parts = {f"{name}_train": arrays[name][~held] for name in "xy"}
    parts |= {f"{name}_test": arrays[name][held] for name in "xy"}
    return parts | ({CLIENTS: arrays[CLIENTS][~held]} if CLIENTS in arrays else {})


def _is_text(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype.kind in "iu" and x.ndim == 2 and x.shape == y.shape and y.dtype.kind in "iu"


def _examples(where: str, x: np.ndarray) -> np.ndarray:
    """Images u8[M, H, W, C], or features f32[M, ...]."""
    if x.dtype.kind not in "biuf" or x.ndim < 2:
        raise UsageError(
            f"{where} is {x.dtype} of shape {x.shape}; allowed: images [M, H, W] or [M, H, W, C], features [M, D] as "
            "floats, integer text [M, T] like its y"
        )
    if x.dtype.kind == "f" and (bad := int(np.count_nonzero(~np.isfinite(x)))):
        raise UsageError(f"{where} has {bad} values that are NaN or infinite")
    if x.dtype.kind in "iu" and x.ndim == 2:
        raise UsageError(
            f"{where} is {x.dtype} of shape {x.shape}, and its y is not; allowed: features as floats, images as "
            "[M, H, W] or [M, H, W, C], text with a y of the same shape"
        )
    if x.ndim in (3, 4) and x.dtype != bool:
        x = _with_channels(where, x)
        if x.dtype != np.uint8 and _are_pixels(where, x):
            say(f"{where}: {x.dtype} images of whole numbers from 0 to 255 are taken as uint8")
            x = x.astype(np.uint8)
    return x if x.dtype == np.uint8 and x.ndim == 4 else _features(where, x)


def _with_channels(where: str, x: np.ndarray) -> np.ndarray:
    """Images with their channels last: grey ones get an axis, PyTorch's are transposed."""
    if x.ndim == 3:
        return x[..., None]
    _, first, *_, last = x.shape
    if first in _CHANNELS and last not in _CHANNELS:
        say(f"{where}: images {list(x.shape)} have their channels first, and are transposed")
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return x


def _are_pixels(where: str, x: np.ndarray) -> bool:
    """Whether images hold whole numbers from 0 to 255; integers must."""
    low, high = (x.min(), x.max()) if x.size else (0, 0)
    if x.dtype.kind == "f":
        return bool(low >= 0 and 1 < high <= 255 and np.array_equal(x, np.rint(x)))
    if low < 0 or high > 255:
        raise UsageError(f"{where} has integers {low}..{high}; allowed: 0..255, or floats")
    return True


def _features(where: str, x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        features = x.astype(np.float32)
    if not np.isfinite(features).all():
        raise UsageError(f"{where} has values beyond the range of float32")
    if x.size and (largest := float(np.abs(features).max())) > _LARGE:
        say(f"{where} has values up to {largest:g}, and features are used as they are: better scale them")
    return features


def _labels(where: str, y: np.ndarray, count: int) -> np.ndarray:
    """One label or number for each example, [M]."""
    if y.ndim == 1:
        return y
    if y.size == count:
        return y.reshape(-1)
    if y.ndim != 2 or len(y) != count:
        raise UsageError(
            f"{where} is {y.dtype} of shape {y.shape}; allowed: one label for each of {count} examples"
        )
    is_one = y == 1
    if y.dtype.kind in "biuf" and (is_one | (y == 0)).all() and (is_one.sum(axis=1) == 1).all():
        say(f"{where} is one-hot, and taken as the classes 0..{y.shape[1] - 1}")
        return is_one.argmax(axis=1)
    raise UsageError(
        f"{where} is {y.dtype} of shape {y.shape}, and not one-hot; allowed: one label or number for each example"
    )


def _owners(where: str, owner: np.ndarray) -> np.ndarray:
    """Owners i32[M], 0..N-1 in the order of their names: text, or numbers with or without gaps."""
    if owner.dtype.kind not in "iuUS":
        raise UsageError(f"{where} is {owner.dtype}, expected integers or text")
    if owner.dtype.kind in "iu" and owner.size and owner.min() < 0:
        raise UsageError(f"{where} has the negative id {owner.min()}; allowed: 0 and above, or text")
    return np.unique(owner, return_inverse=True)[1].reshape(owner.shape).astype(np.int32)


def _int32(where: str, array: np.ndarray) -> np.ndarray:
    limit = np.iinfo(np.int32).max
    if array.size and not -1 <= int(array.min()) <= int(array.max()) <= limit:
        raise UsageError(f"{where} ranges from {array.min()} to {array.max()}, outside 0..{limit}")
    return array.astype(np.int32)


def say(note: str) -> None:
    """Notes what was made of a user's own data."""
    warnings.warn(note, stacklevel=2)
