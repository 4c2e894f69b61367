"""A model that begins from weights that there are already."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.errors import UsageError
from fedjax_sparse.models.model import Model
from fedjax_sparse.types import Variables


def starting_from(model: Model, variables: Variables, source: str) -> Model:
    """The model with an initialisation that is these weights, in its own precision, whatever the key.

    Args:
        model: What is to begin from them.
        variables: Weights and statistics of a model of the same names and shapes.
        source: Where they come from, for the error.

    Raises:
        UsageError: They are those of another model; the error names the first array that differs.
    """
    wanted = model_shapes(model)
    check_same({name: leaf.shape for name, leaf in named(variables).items()}, model, source)
    return model._replace(
        init=lambda key: jax.tree.map(lambda own, leaf: jnp.asarray(leaf, own.dtype), wanted, variables)
    )


def check_same(there: Mapping[str, tuple[int, ...]], model: Model, source: str) -> None:
    """Raises a `UsageError` that names the first array in which shapes by name differ from those of a model."""
    here = {name: leaf.shape for name, leaf in named(model_shapes(model)).items()}
    if there != here:
        name = min(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        raise UsageError(
            f"{source} holds another model: its {name} is {there.get(name, 'missing')}, "
            f"that of {model.name} is {here.get(name, 'missing')}"
        )


def model_shapes(model: Model) -> Variables:
    """ShapeDtypeStructs of what a model is made of."""
    return jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))


def named(variables: Variables) -> dict[str, Any]:
    """The arrays by their paths, such as "params/Dense_0/kernel"."""
    return dict(zip(trees.names(variables), jax.tree.leaves(variables), strict=True))
