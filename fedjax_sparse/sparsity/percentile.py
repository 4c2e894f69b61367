"""Pruning below a percentile of the living weights' magnitudes: Sub-FedAvg, LotteryFL and others of that family."""

from fractions import Fraction

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.sparsity import topk
from fedjax_sparse.types import PyTree


def at_least_percentile(params: PyTree, mask: PyTree, percent: float, among: PyTree) -> PyTree:
    """The mask without what is strictly below the percentile of |w| over the living entries of each chosen leaf.

    Living is what is in the mask and not zero; a leaf without such entries keeps its mask. The percentile is NumPy's,
    interpolated linearly between order statistics. Nothing lies between two of them, so that only the upper one is
    searched: of n living entries, ceil(percent (n - 1) / 100) go, fewer where they tie.

    Args:
        params: The weights.
        mask: Which of them live.
        percent: In [0, 100), to a hundredth.
        among: Python bool for each leaf; the others keep their masks.
    """
    share = Fraction(percent).limit_denominator(100) / 100

    def prune(chosen, weights, live):
        if not chosen:
            return live
        size = jnp.abs(weights)
        alive = live & (weights != 0)
        count = trees.count(alive)
        least = topk.kth_largest(size, count - _ceil_product(share, count - 1), where=alive)
        return jnp.where(count > 0, live & (size >= least), live)

    return jax.tree.map(prune, among, params, mask)


def _ceil_product(share: Fraction, n: jax.Array) -> jax.Array:
    """ceil(share n), exactly and without products that could overflow: i32[], for n >= 0 and a share below 1."""
    whole, rest = jnp.divmod(n, share.denominator)
    return whole * share.numerator - (-rest * share.numerator // share.denominator)
