"""What keeps tracing short: with a compiled program at hand from an earlier run, it is most of what a start takes."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun

from fedjax_sparse.types import PyTree


def traced(function: Callable, *example: Any) -> tuple[Callable, PyTree]:
    """The function as traced, and what it returns.

    For loops, which need the shapes of results beforehand: `jax.eval_shape` followed by a loop traces a function twice,
    and nested twice that is four times.

    Args:
        function: Of arrays; may close over tracers.
        *example: Arrays or ShapeDtypeStructs, shaped as all arguments will be.

    Returns:
        The function, for arguments of those shapes and dtypes (which is not checked), and its results as
        ShapeDtypeStructs.
    """
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*example)
    run, structure = jaxpr_as_fun(jaxpr), jax.tree.structure(shapes)

    def replay(*args: Any) -> PyTree:
        return jax.tree.unflatten(structure, run(*jax.tree.leaves(args)))

    return replay, shapes


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Puts off Python's garbage collection, whose visits to all that the imports left take as long as tracing does."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
