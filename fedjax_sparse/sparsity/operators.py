"""Operators that make a model sparse: the largest entries, or soft thresholding."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.sparsity import compression
from fedjax_sparse.types import PyTree


class Operator(NamedTuple):
    """A way to make a model sparse.

    Attributes:
        apply: (params, step size gamma) -> params.
        kept: How many of the prunable entries it leaves; None where their values decide.
    """

    apply: Callable[[PyTree, jax.Array], PyTree]
    kept: int | None = None


def soft_threshold(strength: float, among: PyTree) -> Operator:
    """The proximal operator of gamma `strength` |x|_1 on the leaves `among`: sign(x) max(|x| - gamma strength, 0)."""

    def apply(params, gamma):
        def one(leaf, chosen):
            shrunk = jnp.sign(leaf) * jnp.maximum(jnp.abs(leaf) - gamma * strength, 0)
            return shrunk.astype(leaf.dtype) if chosen else leaf

        return jax.tree.map(one, params, among)

    return Operator(apply)


def keep_largest(kept: int, among: PyTree) -> Operator:
    """Keeps the `kept` entries of largest magnitude over all leaves `among` together; ties go to the first."""

    def apply(params, gamma):
        del gamma
        return compression.top_k(params, kept, among)[0]

    return Operator(apply, kept)


def keep_largest_of_each(kept: Sequence[int], among: PyTree) -> Operator:
    """Keeps the `kept[i]` entries of largest magnitude of each leaf i in `among`; ties go to the first."""

    def apply(params, gamma):
        del gamma
        return compression.top_k_per_leaf(params, np.asarray(kept, np.int32), among)[0]

    return Operator(apply, sum(kept))
