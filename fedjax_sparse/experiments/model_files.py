"""A trained model as one file, which needs neither its run nor its data to predict, and that file as a model again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_sparse import errors
from fedjax_sparse.data.transforms import Preprocess
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments import onnx_file
from fedjax_sparse.models import model as models
from fedjax_sparse.models import starting
from fedjax_sparse.models.model import Recipe
from fedjax_sparse.records import safetensors_file, sparse_file
from fedjax_sparse.records.writing import replace
from fedjax_sparse.simulation.deployment import TrainedModel
from fedjax_sparse.types import Variables

VERSION = 1  # of what is said about the arrays


class Saved(NamedTuple):
    """What was written.

    Attributes:
        file: Where.
        file_bytes: Its length.
        parameters: How many the model has.
        zeros: How many of them are zero.
        dense_bytes: Of all arrays, zeros included.
    """

    file: Path
    file_bytes: int
    parameters: int
    zeros: int
    dense_bytes: int


def _with_arrays(write: Callable[[Mapping, Mapping], bytes]) -> Callable[[TrainedModel, Mapping], bytes]:
    """A writer of a model from one of arrays and of what is said about them."""

    def encode(model: TrainedModel, origin: Mapping[str, Any]) -> bytes:
        recipe, inputs = _built_with(model)
        about = {
            "version": VERSION,
            "model": recipe._asdict(),
            "mean": inputs.mean,
            "std": inputs.std,
            "origin": origin,
        }
        return write(about, _arrays(model.variables))

    return encode


# Format -> what writes a model and, for whom it may concern, where it comes from. A file's suffix is its format's name.
FORMATS: dict[str, Callable[[TrainedModel, Mapping[str, Any]], bytes]] = {
    "safetensors": _with_arrays(safetensors_file.write),
    "sparse": _with_arrays(sparse_file.write),
    "onnx": onnx_file.write,
}


def save_model(
    model: TrainedModel,
    file: str | Path,
    format: str | None = None,
    *,
    origin: Mapping[str, Any] | None = None,
) -> Saved:
    """Writes a model.

    Args:
        model: As `simulate` and `load_run` give it.
        file: What to write; one that is there is replaced.
        format: `safetensors`: weights and bit-packed masks, for any framework; `sparse`: values and their positions, as
            small as they get; `onnx`: the computation too, normalisation included, without masks. By default, what the
            file's name ends in.
        origin: Where the model comes from, as JSON knows it; written along.

    Raises:
        UsageError: There is no such format, the model was not made by `build_model`, a package is missing, or the file
            cannot be written.
    """
    file = Path(file)
    format = file.suffix.removeprefix(".") if format is None else format
    if format not in FORMATS:
        errors.unknown_name("format", format, FORMATS)
    content = FORMATS[format](model, origin or {})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file, content)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    params = [np.asarray(leaf) for leaf in jax.tree.leaves(model.variables.params)]
    size = sum(array.size for array in params)
    dense = sum(array.nbytes for array in _arrays(model.variables).values())
    return Saved(
        file, len(content), size, size - sum(int(np.count_nonzero(array)) for array in params), dense
    )


def load_model(file: str | Path) -> TrainedModel:
    """The model of a file that `save_model` wrote as `safetensors` or `sparse`: its predictions are the same.

    Raises:
        UsageError: The file cannot be read or is none of those, or its arrays are another model's or were changed.
        RunError: It is damaged.
    """
    file = Path(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    read = sparse_file.read if content.startswith(sparse_file.MAGIC) else safetensors_file.read
    about, arrays = read(content, str(file))
    if about.get("version") != VERSION:
        raise UsageError(f"{file} is of version {about.get('version')!r}; allowed: {VERSION}")
    model = models.build(**Recipe(**about["model"]).arguments())
    variables = _variables(arrays, model, str(file))
    dtype = jax.tree.leaves(variables.params)[0].dtype
    preprocess = Preprocess(tuple(about["mean"]), tuple(about["std"]), dtype, augment=False)
    return TrainedModel(model, preprocess, variables)


def _built_with(model: TrainedModel) -> tuple[Recipe, Preprocess]:
    """What makes the model and its inputs again."""
    if model.model.recipe is None or not isinstance(model.preprocess, Preprocess):
        raise UsageError(
            "a model can be written only if it is known how it was built; allowed: those of build_model"
        )
    return model.model.recipe, model.preprocess


def _arrays(variables: Variables) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in starting.named(variables).items()}


def _variables(arrays: Mapping[str, np.ndarray], model: models.Model, source: str) -> Variables:
    """The arrays in the structure of the model, which they have to fit."""
    starting.check_same({name: array.shape for name, array in arrays.items()}, model, source)
    wanted = starting.model_shapes(model)
    for name, leaf in starting.named(wanted).items():
        if arrays[name].dtype != leaf.dtype:
            raise UsageError(
                f"{source} has been changed: its {name} is {arrays[name].dtype}, and was {leaf.dtype}"
            )
    ordered = [jax.numpy.asarray(arrays[name]) for name in starting.named(wanted)]
    return jax.tree.unflatten(jax.tree.structure(wanted), ordered)
