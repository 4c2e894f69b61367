"""Activation pruning: the gradient of a kernel is taken from its layer's largest inputs only.

The forward pass and the gradient with respect to the input are exact. How many inputs count follows from the kernel
itself: a layer whose kernel is 95% zeros sees its largest 5% (SWAT, arXiv 2007.13621; SparsyFed, arXiv 2504.05153).

    k = ceil(max(1 - s, floor) n)      s: the kernel's fraction of zeros; n: inputs in the batch, padding not counted
    t = k-th largest |input|           over the whole batch together
    dL/dkernel = that at input * [|input| >= t], for the true dL/doutput
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.models.layers import DEFAULT, Ops
from fedjax_sparse.sparsity import topk
from fedjax_sparse.sparsity.schedules import exact
from fedjax_sparse.sparsity.shares import ceil_share
from fedjax_sparse.types import Batch, PyTree, Variables

UNSET = -1.0  # below every threshold


class Counting(NamedTuple):
    """How many inputs a share of them is, rounded up.

    Attributes:
        living: (inputs i32[], living entries i32[], entries of the kernel) -> i32[].
        floor: (inputs, share kept at least) -> int.
    """

    living: Callable[[jax.Array, jax.Array, int], jax.Array]
    floor: Callable[[int, float], int]


class Remembered(NamedTuple):
    """Model statistics, and beside them what layers remember within a round.

    Attributes:
        stats: As the model knows them.
        thresholds: Name of a kernel -> f[], the threshold of its layer's inputs; `UNSET` before the first batch that
            prunes. Layers that are not named compute theirs in every batch.
    """

    stats: PyTree
    thresholds: dict[str, jax.Array]


def remember(variables: Variables, cached: Collection[str]) -> Variables:
    """Variables at the start of a round, with unset thresholds for the kernels in `cached`."""
    dtype = jax.tree.leaves(variables.params)[0].dtype
    unset = {name: jnp.asarray(UNSET, dtype) for name in cached}
    return variables._replace(stats=Remembered(variables.stats, unset))


def forget(variables: Variables) -> Variables:
    """The inverse of `remember`."""
    return variables._replace(stats=variables.stats.stats)


def with_pruned_activations(
    loss: Callable, names: Collection[str], limit: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
) -> Callable:
    """(variables, batch) -> (mean loss, new stats), where `stats` are `Remembered`.

    Args:
        loss: (variables, batch, ops) -> (mean loss, new stats), as in `Federation`.
        names: Kernels of the layers whose inputs are pruned.
        limit: (input, kernel, present) -> the magnitude that an input must have to count, such as `threshold`.
    """

    def pruned_loss(variables: Variables, batch: Batch):
        stats, thresholds = variables.stats
        seen = dict(thresholds)
        ops = _pruning_ops(names, lambda x, kernel: limit(x, kernel, batch.mask), seen)
        value, stats = loss(Variables(variables.params, stats), batch, ops=ops)
        return value, Remembered(stats, seen)

    return pruned_loss


def threshold(
    x: jax.Array, kernel: jax.Array, present: jax.Array, floor: float, counting: str = "exact"
) -> jax.Array:
    """The magnitude that an input must have to count, f[].

    Args:
        x: [B, ...], the layer's input.
        kernel: Its kernel; the fraction of zeros matters.
        present: bool[B], False for the padding of a partial batch.
        floor: Fraction kept at least.
        counting: One of `COUNTINGS`.
    """
    rule = COUNTINGS[counting]
    count, per_example = jnp.sum(present, dtype=jnp.int32), x.size // x.shape[0]
    least = np.array([rule.floor(n * per_example, floor) for n in range(x.shape[0] + 1)], np.int32)
    k = rule.living(count * per_example, trees.count(kernel != 0), kernel.size)
    return _kth_of_present(x, jnp.maximum(k, jnp.asarray(least)[count]), present)


def share_threshold(x: jax.Array, kernel: jax.Array, present: jax.Array, share: float) -> jax.Array:
    """Like `threshold`, with k = ceil(share n) whatever the kernel's zeros."""
    del kernel
    per_example = x.size // x.shape[0]
    ks = np.array([math.ceil(exact(share) * n * per_example) for n in range(x.shape[0] + 1)], np.int32)
    return _kth_of_present(x, jnp.asarray(ks)[jnp.sum(present, dtype=jnp.int32)], present)


def _kth_of_present(x: jax.Array, k: jax.Array, present: jax.Array) -> jax.Array:
    allowed = jnp.broadcast_to(present.reshape(-1, *(1,) * (x.ndim - 1)), x.shape)
    return topk.kth_largest(jnp.abs(x), k, where=allowed)


def _pruning_ops(
    names: Collection[str],
    limit_of: Callable[[jax.Array, jax.Array], jax.Array],
    cached: dict[str, jax.Array],
) -> Ops:
    """Layers whose inputs are pruned at `limit_of(input, kernel)`.

    Those in `cached` use the threshold there, and leave theirs once they have one.
    """

    def layer(op, name: str, x: jax.Array, kernel: jax.Array) -> Any:
        if name not in names:
            return op(x, kernel)
        fixed = jax.lax.stop_gradient((x, kernel))
        if name not in cached:
            return _pruned_in_backward(op, x, kernel, limit_of(*fixed))
        known = cached[name]
        limit = jax.lax.cond(known >= 0, lambda: known, lambda: limit_of(*fixed).astype(known.dtype))
        cached[name] = jnp.where(jnp.all(kernel != 0), known, limit)
        return _pruned_in_backward(op, x, kernel, limit.astype(x.dtype))

    def dense(name, x, kernel):
        return layer(functools.partial(DEFAULT.dense, name), name, x, kernel)

    def conv(name, x, kernel, strides, padding):
        return layer(lambda x, kernel: DEFAULT.conv(name, x, kernel, strides, padding), name, x, kernel)

    return Ops(dense, conv)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pruned_in_backward(op, x, kernel, limit):
    """The bilinear op(x, kernel), whose kernel gradient is taken at the inputs of magnitude `limit` or more."""
    del limit
    return op(x, kernel)


def _forward(op, x, kernel, limit):
    return op(x, kernel), (jnp.where(jnp.abs(x) >= limit, x, jnp.zeros_like(x)), kernel)


def _backward(op, saved, g):
    # The op being bilinear, the gradient with respect to its input does not depend on the input.
    _, pull_back = jax.vjp(op, *saved)
    return *pull_back(g), jnp.zeros((), saved[0].dtype)


_pruned_in_backward.defvjp(_forward, _backward)


def _ceil_share_in_float64(total: jax.Array, part: jax.Array, whole: int) -> jax.Array:
    """ceil(total (1 - (1 - part / whole))), i32[], each step rounded in float64, whatever precision is in use."""
    with jax.enable_x64(True):
        total, part = total.astype(jnp.float64), part.astype(jnp.float64)
        whole_here = jnp.maximum(part, whole)  # not a constant, by whose inverse XLA would multiply
        return jnp.ceil((1 - (1 - part / whole_here)) * total).astype(jnp.int32)


COUNTINGS = {
    "exact": Counting(ceil_share, lambda total, share: math.ceil(exact(share) * total)),
    "float64": Counting(_ceil_share_in_float64, lambda total, share: math.ceil(share * total)),
}
