"""TensorFlow Federated's HDF5 files of images: a group `examples`, in it one for each client.

fed_emnist has `pixels` (grey levels divided by 255) and `label`; fed_cifar100 has `image`, `label` and `coarse_label`,
which is left aside.
"""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fedjax_sparse.data import by_owner, own
from fedjax_sparse.data.by_owner import Share
from fedjax_sparse.data.files import Arrays
from fedjax_sparse.errors import UsageError, optional_package

_IMAGES, _LABELS, _ASIDE = ("pixels", "image"), "label", {"coarse_label"}


def read(where: str, train: Path, test: Path | None) -> Arrays:
    """The arrays in two files, with their natural owners; in one, every fifth example is for testing.

    Raises:
        UsageError: A file is not HDF5, damaged, or of something else than images with one label each.
    """
    held = by_owner.joined(where, _shares(train))
    arrays = by_owner.in_two(where, held, by_owner.joined(str(test), _shares(test)) if test else None)
    return own.arranged(where, by_owner.as_pixels(where, arrays), {})


def _shares(path: Path) -> Iterator[Share]:
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            clients = file.get("examples")
            if not isinstance(clients, h5py.Group):
                raise UsageError(
                    f"{path}: not of TensorFlow Federated: it has no group 'examples' with one for each client"
                )
            for name, client in clients.items():
                yield _share(f"{path}: client {name}", str(name), client)
    except (
        OSError,
        RuntimeError,
        KeyError,
    ) as error:  # what h5py makes of files of another kind, and of damaged ones
        raise UsageError(f"{path}: not a readable HDF5 file: {' '.join(str(error).split())}") from None


def _share(where: str, name: str, client: Any) -> Share:
    fields = {*client} if isinstance(client, _h5py().Group) else set()
    image = next((key for key in _IMAGES if key in fields), None)
    if image is None or fields - _ASIDE != {image, _LABELS}:
        found = ", ".join(sorted(fields)) or "nothing"
        raise UsageError(f"{where} holds {found}; allowed: images ({' or '.join(_IMAGES)}) and {_LABELS}")
    x, y = (np.asarray(client[key]) for key in (image, _LABELS))
    return Share(name, x, y)


def _h5py() -> ModuleType:
    return optional_package("h5py", "hdf5", "HDF5 needs")
