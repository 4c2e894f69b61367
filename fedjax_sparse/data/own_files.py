"""A user's own files and folders, told apart by their names and by what lies in them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fedjax_sparse.data import columns, hdf5, leaf, own
from fedjax_sparse.data.columns import Roles
from fedjax_sparse.data.files import Arrays, existing, read_file
from fedjax_sparse.errors import UsageError

# Ending -> (name for messages, file, its test file or None, roles) -> arrays.
_FILES: dict[str, Callable[[str, Path, Path | None, Roles], Arrays]] = {
    ".npz": lambda where, path, test, roles: own.parse_npz(read_file(path)),
    ".json": lambda where, path, test, roles: leaf.read(where, [path], [test] if test else []),
    ".h5": lambda where, path, test, roles: hdf5.read(where, path, test),
    ".csv": columns.read_csv,
    ".csv.gz": columns.read_csv,
    ".parquet": columns.read_parquet,
}
FORMS = ("FILE.npz", "FILE.json", "FILE.h5", "FILE.csv", "FILE.parquet", "FOLDER")
_OF_TABLES = (columns.read_csv, columns.read_parquet)


def reader(name: str, roles: Roles) -> Callable[[], Arrays] | None:
    """What reads the file or folder of that name; None if the name means something else.

    Args:
        name: A path. The test set of a file with `train` in its name is the one with `test` there.
        roles: Columns of labels and owners, where somebody named them.

    Raises:
        UsageError: There is no such file, or columns are named of what has none.
    """
    path = Path(name).expanduser()
    if (read := _FILES.get(_ending(name))) is not None:
        existing(path)
        _check(name, roles, has_columns=read in _OF_TABLES)
        return partial(read, name, path, _test_of(path), roles)
    if not path.is_dir():
        return None
    if columns.is_saved(path):
        return partial(columns.read_saved, name, path, roles)
    train, test = leaf.find(path)
    if not train:
        return None
    _check(name, roles, has_columns=False)
    return partial(leaf.read, name, train, test)


def check_no_columns(name: str, roles: Roles) -> None:
    """Refuses names of columns for a data set that has none."""
    _check(name, roles, has_columns=False)


def _check(name: str, roles: Roles, *, has_columns: bool) -> None:
    for flag, value in (("--label-column", roles.label), ("--owner-column", roles.owner)):
        if value is not None and not has_columns:
            raise UsageError(
                f"{flag} = {value!r} does not fit {name}; allowed: with CSV, Parquet or a saved Hugging Face set"
            )


def _ending(name: str) -> str:
    """The last dot of a name and what follows, and what precedes a .gz."""
    suffixes = Path(name).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])


def _test_of(path: Path) -> Path | None:
    before, train, after = path.name.rpartition("train")
    test = path.with_name(f"{before}test{after}")
    return test if train and test.is_file() else None
