"""Arrays as safetensors, which other frameworks read: weights with their zeros, and bit-packed masks beside them.

NAME          an array, zeros included
mask/NAME     of an array that holds zeros: u8, one bit an entry, set where it is not zero (`costs.encodings.pack_bits`)
__metadata__  `fedjax_sparse`: what the writer says about them, as JSON
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fedjax_sparse.costs import encodings
from fedjax_sparse.errors import UsageError

_MASK, _ABOUT = "mask/", "fedjax_sparse"


def write(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file's content: what JSON can hold about the arrays, and the arrays by name."""
    from safetensors.numpy import save

    masks = {
        f"{_MASK}{name}": np.frombuffer(encodings.pack_bits([array != 0]), np.uint8)
        for name, array in arrays.items()
        if not np.all(array)
    }
    plain = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    return save({**plain, **masks}, metadata={_ABOUT: json.dumps(about)})


def read(content: bytes, source: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write` was given.

    Args:
        content: Of the file.
        source: The file's name, for the errors.

    Raises:
        UsageError: This is no such file, or weights have been set outside their masks since.
    """
    about, tensors = _open(content, source)
    arrays = {name: array for name, array in tensors.items() if not name.startswith(_MASK)}
    for name, array in arrays.items():
        packed = tensors.get(f"{_MASK}{name}")
        if packed is None:
            continue
        mask = encodings.unpack_bits(packed.tobytes(), array.size) if 8 * packed.size >= array.size else None
        if mask is None or np.any(array.reshape(-1)[~mask]):
            raise UsageError(f"{source} has been changed: its {name} is not the array that its mask is for")
    return about, arrays


def _open(content: bytes, source: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is said about the tensors, and all of them."""
    import ml_dtypes
    from safetensors import SafetensorError, deserialize

    kinds = {"F64": np.float64, "F32": np.float32, "BF16": ml_dtypes.bfloat16, "U8": np.uint8}
    try:
        tensors = {
            name: np.frombuffer(tensor["data"], kinds[tensor["dtype"]]).reshape(tensor["shape"])
            for name, tensor in deserialize(content)
        }
        # The metadata of bytes: safetensors gives that of files only.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header["__metadata__"][_ABOUT]), tensors
    except (SafetensorError, KeyError, ValueError) as error:
        raise UsageError(
            f"{source} is no model that was exported here; allowed: the safetensors or sparse files of "
            "fedjax-sparse export"
        ) from error
