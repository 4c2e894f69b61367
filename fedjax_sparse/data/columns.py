"""Tables with a column of labels and, where they have owners, one of those: CSV, Parquet, saved Hugging Face sets.

All are read by Apache Arrow. The other columns are features, all of them numbers; or one of them holds images or lists
of numbers, and is x.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from fedjax_sparse.data import own
from fedjax_sparse.data.files import Arrays
from fedjax_sparse.errors import MOST_NAMES, UsageError, optional_package, unknown_name

if TYPE_CHECKING:
    import pyarrow as pa

_LABELS = ("label", "labels", "y", "target", "targets")
_DICT, _STATE = "dataset_dict.json", "state.json"  # of a saved set with splits, and of each split
_INDEX = "__index_level_"  # a table's index as pandas saves it
_TEST_SPLITS = ("test", "validation")


class Roles(NamedTuple):
    """Names of the columns that are no features; the label's is one of the usual ones where it is not stated."""

    label: str | None = None
    owner: str | None = None


NOT_STATED = Roles()


class _Named(NamedTuple):
    """A table, and where it is from."""

    where: str
    table: Any


def read_csv(where: str, train: Path, test: Path | None, roles: Roles) -> Arrays:
    """The arrays in one CSV file or two, which begin with the names of their columns; see the module."""
    arrow = _arrow()
    from pyarrow import csv

    return _arrays(where, [_read(path, csv.read_csv, arrow) for path in (train, test) if path], roles)


def read_parquet(where: str, train: Path, test: Path | None, roles: Roles) -> Arrays:
    """The arrays in one Parquet file or two; see the module."""
    arrow = _arrow()
    from pyarrow import parquet

    return _arrays(where, [_read(path, parquet.read_table, arrow) for path in (train, test) if path], roles)


def is_saved(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` of Hugging Face's `datasets` writes."""
    return (folder / _DICT).is_file() or (folder / _STATE).is_file()


def read_saved(where: str, folder: Path, roles: Roles) -> Arrays:
    """The arrays of a saved Hugging Face set; its test set is the split `test`, else `validation`."""
    arrow = _arrow()
    if (folder / _STATE).is_file():
        return _arrays(where, [_saved_split(folder, arrow)], roles)
    splits = _document(folder / _DICT).get("splits")
    test = next((name for name in _TEST_SPLITS if name in (splits or ())), None)
    if not isinstance(splits, list) or "train" not in splits or test is None:
        raise UsageError(f"{where}: has the splits {splits}; needed: train, and test or validation")
    return _arrays(where, [_saved_split(folder / name, arrow) for name in ("train", test)], roles)


def _saved_split(folder: Path, arrow: Any) -> _Named:
    state = _document(folder / _STATE)
    names = [file.get("filename") for file in state.get("_data_files", ())]
    if not names or state.get("_indices_files") or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f"{folder}: {_STATE} names no arrow files of its own; save the set anew by save_to_disk"
        )

    def read(path: Path) -> Any:
        with arrow.memory_map(str(path)) as stream:
            return arrow.ipc.open_stream(stream).read_all()

    tables = [_read(folder / name, read, arrow).table for name in names]
    return _Named(str(folder), arrow.concat_tables(tables))


def _document(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not a JSON object")
    return content


def _read(path: Path, read: Callable[[Path], Any], arrow: Any) -> _Named:
    try:
        table = read(path)
    except (OSError, arrow.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    if twice:
        raise UsageError(f"{path}: has several columns {', '.join(sorted(twice))}; allowed: one of each name")
    return _Named(str(path), table)


def _arrays(where: str, tables: Sequence[_Named], roles: Roles) -> Arrays:
    """One table, of which every fifth row is for testing, or those of training and testing."""
    (source, first), *_ = tables
    label = _label_of(source, first.column_names, roles)
    if roles.owner is not None and roles.owner not in first.column_names:
        unknown_name(f"--owner-column of {source}", roles.owner, first.column_names)
    beside = (label, roles.owner)
    features = [name for name in first.column_names if name not in beside and not name.startswith(_INDEX)]
    arrays: Arrays = {}
    for (source, table), part in zip(tables, ("_train", "_test") if len(tables) > 1 else ("",), strict=True):
        for name in (*features, label):
            if name not in table.column_names:
                unknown_name(f"column of {source}", name, table.column_names)
        arrays[f"x{part}"] = _features(source, table.select(features))
        arrays[f"y{part}"] = _column(source, label, table[label])
    if roles.owner is not None:
        arrays[own.CLIENTS] = _column(where, roles.owner, first[roles.owner])
    names = {f"y_{part}": f"column {label!r}" for part in ("train", "test")}
    return own.arranged(where, arrays, names | {own.CLIENTS: f"column {roles.owner!r}"})


def _label_of(where: str, columns: Sequence[str], roles: Roles) -> str:
    if roles.label is not None:
        if roles.label not in columns:
            unknown_name(f"--label-column of {where}", roles.label, columns)
        return roles.label
    found = [name for name in columns if name.lower() in _LABELS]
    if len(found) != 1:
        which = f"columns {', '.join(found)} could all be labels" if found else "no column is called label"
        raise UsageError(
            f"{where}: {which}; state --label-column (columns: {', '.join(columns[:MOST_NAMES])})"
        )
    return found[0]


def _features(where: str, table: "pa.Table") -> np.ndarray:
    """x: the column of images or lists where there is one, else all columns of numbers side by side."""
    arrays = {name: _column(where, name, table[name]) for name in table.column_names}
    if not arrays:
        raise UsageError(f"{where}: has no column of features beside labels and owners")
    text = [name for name, array in arrays.items() if array.dtype.kind not in "biuf"]
    if text:
        raise UsageError(
            f"{where}: column {text[0]!r} holds {table[text[0]].type}; allowed as features: numbers, images, lists of "
            "numbers"
        )
    wide = [name for name, array in arrays.items() if array.ndim > 1]
    if len(wide) > 1:
        raise UsageError(f"{where}: columns {', '.join(wide)} could all be the examples; keep one")
    if not wide:
        return np.column_stack([array.astype(np.float64) for array in arrays.values()])
    if spare := [name for name in arrays if name not in wide]:
        own.say(f"{where}: columns {', '.join(spare)} not used, since {wide[0]} holds the examples")
    x = arrays[wide[0]]
    return x.astype(np.float64) if x.ndim == 2 else x


def _column(where: str, name: str, column: "pa.ChunkedArray") -> np.ndarray:
    """A column as an array [M, ...]: numbers, text, lists of equal lengths, or images of one size."""
    from pyarrow import types

    if column.null_count:
        raise UsageError(f"{where}: column {name!r} lacks {column.null_count} values; allowed: none missing")
    kind = column.type
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_string(kind) or types.is_large_string(kind):
        return np.array(column.to_pylist(), str)
    if types.is_struct(kind):
        return _images(where, name, column.to_pylist())
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(where, name, column.combine_chunks())
    return column.to_numpy()


def _lists(where: str, name: str, column: "pa.Array") -> np.ndarray:
    from pyarrow import compute, types

    shape = [len(column)]
    while (
        types.is_list(column.type)
        or types.is_large_list(column.type)
        or types.is_fixed_size_list(column.type)
    ):
        lengths = compute.unique(compute.list_value_length(column)).to_pylist()  # type: ignore[attr-defined]
        if len(lengths) != 1 or lengths[0] is None:
            raise UsageError(f"{where}: column {name!r} holds lists of several lengths; allowed: one")
        shape.append(lengths[0])
        column = compute.list_flatten(column)  # type: ignore[attr-defined]
    if column.null_count:
        raise UsageError(
            f"{where}: lists in column {name!r} lack {column.null_count} values; allowed: none missing"
        )
    return column.to_numpy(zero_copy_only=False).reshape(shape)


def _images(where: str, name: str, values: Sequence[dict[str, Any]]) -> np.ndarray:
    """u8[M, H, W] of grey images or u8[M, H, W, 3] of others, as Hugging Face saves them: {bytes, path}."""
    images = []
    for number, value in enumerate(values):
        content = value.get("bytes")
        if not isinstance(content, bytes):
            raise UsageError(
                f"{where}: column {name!r} does not hold its images, but where they lie; save them in it"
            )
        try:
            with Image.open(io.BytesIO(content)) as image:
                images.append(np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB")))
        except (OSError, ValueError, SyntaxError) as error:
            raise UsageError(
                f"{where}: column {name!r}, row {number}: not a readable image: {error}"
            ) from None
    sizes = sorted({image.shape for image in images})
    if len(sizes) > 1:
        raise UsageError(
            f"{where}: column {name!r} holds images of {len(sizes)} sizes, such as {sizes[:2]}; allowed: one"
        )
    return np.stack(images)


def _arrow() -> Any:
    return optional_package("pyarrow", "tables", "tables need")
