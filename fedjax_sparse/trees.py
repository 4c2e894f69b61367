"""Arithmetic on pytrees. All functions work leaf by leaf and under `vmap`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fedjax_sparse.types import PyTree


def add(a: PyTree, b: PyTree) -> PyTree:
    """Sum, a + b."""
    return jax.tree.map(jnp.add, a, b)


def sub(a: PyTree, b: PyTree) -> PyTree:
    """Difference, a - b."""
    return jax.tree.map(jnp.subtract, a, b)


def scale(tree: PyTree, factor: jax.Array | float) -> PyTree:
    """Factor times tree, in the leaves' own dtypes."""
    return jax.tree.map(lambda leaf: (leaf * factor).astype(leaf.dtype), tree)


def add_scaled(a: PyTree, factor: jax.Array | float, b: PyTree) -> PyTree:
    """Sum of a and factor * b, in the dtypes of `a`."""
    return jax.tree.map(lambda x, y: (x + factor * y).astype(x.dtype), a, b)


def zeros_like(tree: PyTree) -> PyTree:
    """Zeros of the same shapes and dtypes."""
    return jax.tree.map(jnp.zeros_like, tree)


def ones_like(tree: PyTree) -> PyTree:
    """Ones of the same shapes and dtypes."""
    return jax.tree.map(jnp.ones_like, tree)


def where(condition: jax.Array, a: PyTree, b: PyTree) -> PyTree:
    """`a` where the scalar condition holds, else `b`: nothing of the other branch, not even a NaN, gets through."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def dot(a: PyTree, b: PyTree) -> jax.Array:
    """Inner product over all leaves, f[]."""
    products = jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def norm(tree: PyTree) -> jax.Array:
    """Euclidean norm over all leaves, f[]."""
    return jnp.sqrt(dot(tree, tree))


def size(tree: PyTree) -> int:
    """Number of scalars in all leaves; a Python int, known before tracing."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def sizes(tree: PyTree) -> list[int]:
    """Number of scalars in each leaf, in leaf order."""
    return [leaf.size for leaf in jax.tree.leaves(tree)]


def names(tree: PyTree) -> list[str]:
    """The path of each leaf, in leaf order, such as "Dense_0/kernel"."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


def count_nonzero(tree: PyTree) -> jax.Array:
    """Non-zero entries of each leaf, i32[L]; the sum over leaves may overflow int32 only above 2**31 entries."""
    return jnp.stack([count(leaf != 0) for leaf in jax.tree.leaves(tree)])


def count(mask: jax.Array) -> jax.Array:
    """How many entries are True, i32[]."""
    # Two sums in one pass: on CPU, XLA adds them up four times faster than a single sum of integers.
    true, false = count_each([mask, ~mask])
    return jnp.minimum(true, mask.size - false)


def count_each(masks: Sequence[jax.Array]) -> list[jax.Array]:
    """How many entries of each mask are True, i32[]; masks of one shape are counted in one pass over the data."""
    # Along one axis: on CPU, XLA's loop over several takes half as long again, and twice as long over a convolution's.
    ones, zeros = [mask.reshape(-1).astype(jnp.int32) for mask in masks], [jnp.int32(0)] * len(masks)
    return jax.lax.reduce(ones, zeros, lambda a, b: jax.tree.map(jnp.add, a, b), (0,))


def all_finite(tree: PyTree) -> jax.Array:
    """bool[]: no NaN and no infinity anywhere."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
