"""A model that begins from weights that there are already."""

import jax
import jax.numpy as jnp

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
    wanted = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))
    there, here = _shapes(variables), _shapes(wanted)
    if there != here:
        name = min(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        raise UsageError(
            f"{source} holds another model: its {name} is {there.get(name, 'missing')}, "
            f"that of {model.name} is {here.get(name, 'missing')}"
        )
    return model._replace(
        init=lambda key: jax.tree.map(lambda own, leaf: jnp.asarray(leaf, own.dtype), wanted, variables)
    )


def _shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}
