"""QSGD: clients round their updates at random to a few levels of a norm."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fedjax_sparse import errors, trees
from fedjax_sparse.config.cards.qsgd import QSGD
from fedjax_sparse.costs.counts import sparse_message
from fedjax_sparse.costs.level_codes import level_bits
from fedjax_sparse.rounds.error_feedback import error_feedback, nothing, plain_training
from fedjax_sparse.types import Algorithm, Federation, PyTree

NORMS = {
    "l2": lambda buckets: jnp.sqrt(jnp.sum(buckets**2, axis=1, keepdims=True)),
    "max": lambda buckets: jnp.max(jnp.abs(buckets), axis=1, keepdims=True),
}


class Cut(NamedTuple):
    """A vector of d entries in buckets of b, the last one filled with zeros."""

    size: int
    width: int

    @property
    def buckets(self) -> int:
        """How many there are."""
        return -(-self.size // self.width)

    @property
    def lengths(self) -> np.ndarray:
        """i32[buckets]: their entries, without the filling."""
        lengths = np.full(self.buckets, self.width, np.int32)
        lengths[-1] = self.size - self.width * (self.buckets - 1)
        return lengths

    def apply(self, vector: jax.Array) -> jax.Array:
        """f[d] -> f[buckets, b]."""
        return jnp.pad(vector, (0, self.buckets * self.width - self.size)).reshape(self.buckets, self.width)


def qsgd(federation: Federation, hyper: QSGD) -> Algorithm:
    """Random rounding of the update, without bias and without memory.

    Round t, for each client i of the cohort with weight p_i; U = w_i - W, in buckets u of `bucket` entries:

        r_j = s |u_j| / ||u||;  l_j = floor(r_j) + Bernoulli(r_j - floor(r_j));  Q_j = ||u|| sign(u_j) l_j / s
        W   = W + sum_i p_i Q(w_i - W)

    s is `levels`. The mean of Q(u) is u, and its variance (||u|| / s)^2 sum_j f_j (1 - f_j) with fractions f_j: at most
    min(d / s^2, sqrt(d) / s) ||u||^2 for a bucket of d entries. A bucket of zeros stays zero. With many levels this is
    FedAvg.

    State: none beside the server's model. Up go one norm a bucket and the drawn levels, counted bit by bit as
    `costs.level_codes` writes them (`coding`); the downlink is dense. Model statistics are sent as they are.

    Departures: the paper quantises every step's gradient; here the step is a round. Its sparse code does not say where
    a bucket ends; ours sends that distance too. A port (GRACE) takes each tensor whole (`layerwise`, `bucket` "all")
    and makes NaN of a tensor of zeros.

    References:
        Alistarh et al., QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding (arXiv 1610.02132).
    """
    size, stats_size = trees.size(federation.params), federation.stats_size
    sizes = trees.sizes(federation.params) if hyper.layerwise else [size]
    cuts = [Cut(n, n if hyper.bucket == "all" else min(n, hyper.bucket)) for n in sizes]
    buckets = sum(cut.buckets for cut in cuts)
    _check_bits(hyper, cuts)
    bits = {"fixed": fixed_bits, "elias-sparse": elias_sparse_bits, "elias-dense": elias_dense_bits}[
        hyper.coding
    ]

    def exchange(turn, update, memory):
        vectors, join = _vectors(update, hyper.layerwise)
        keys = jax.random.split(turn.key, len(cuts))
        sent, total = [], jnp.int32(0)
        for vector, cut, key in zip(vectors, cuts, keys, strict=True):
            u = cut.apply(vector)
            draws = jax.random.uniform(key, u.shape, u.dtype)
            norm, levels = quantized(u, hyper.levels, draws, hyper.scale)
            total += bits(levels, cut.lengths, hyper.levels)
            sent.append((norm * levels / hyper.levels).reshape(-1)[: cut.size].astype(vector.dtype))
        return join(sent), memory, total

    def upload(code_bits, sent):
        whole, values = size + stats_size, buckets + stats_size
        return sparse_message(whole, values, sent, located=0, universe=0, code_bits=code_bits)

    return error_feedback(
        federation, plain_training(federation), exchange, first_memory=nothing, upload=upload
    )


def quantized(u: jax.Array, s: int, draws: jax.Array, scale: str = "l2") -> tuple[jax.Array, jax.Array]:
    """Norms f[buckets, 1] and signed levels i32[buckets, b] of u; a draw in [0, 1) below the fraction rounds up."""
    norm = NORMS[scale](u)
    r = s * jnp.abs(u) / jnp.where(norm > 0, norm, 1)
    levels = jnp.floor(r) + (draws < r - jnp.floor(r))
    # Rounding may put the largest entry a little above s.
    return norm, (jnp.sign(u) * jnp.minimum(levels, s)).astype(jnp.int32)


def fixed_bits(levels: jax.Array, lengths: np.ndarray, s: int) -> jax.Array:
    """i32[]: a sign and a level in 0..s for each entry."""
    del levels
    return jnp.int32(int(lengths.sum()) * (1 + level_bits(s)))


def elias_dense_bits(levels: jax.Array, lengths: np.ndarray, s: int) -> jax.Array:
    """i32[]: for each entry the code of level + 1, and a sign where it is not zero."""
    del s
    filling = levels.size - int(lengths.sum())  # zeros, of one bit each
    bits = elias_length(jnp.abs(levels) + 1) + (levels != 0)
    return jnp.sum(bits, dtype=jnp.int32) - filling


def elias_sparse_bits(levels: jax.Array, lengths: np.ndarray, s: int) -> jax.Array:
    """i32[]: codes of distance and level, and a sign, for each entry that is not zero; that of a bucket's rest."""
    del s
    places = jax.lax.broadcasted_iota(jnp.int32, levels.shape, 1)
    upto = jax.lax.cummax(jnp.where(levels != 0, places, -1), axis=1)
    before = jnp.pad(upto[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    bits = elias_length(places - before) + 1 + elias_length(jnp.maximum(jnp.abs(levels), 1))
    rest = elias_length(jnp.asarray(lengths) - upto[:, -1])
    return jnp.sum(jnp.where(levels != 0, bits, 0), dtype=jnp.int32) + jnp.sum(rest, dtype=jnp.int32)


def elias_length(n: jax.Array) -> jax.Array:
    """Length of Elias' omega code of n, i32[...] from 1 on."""
    length = jnp.ones_like(n)
    for _ in range(4):  # 31 bits, 5 bits, 3 bits, 2 bits
        bits = 32 - jax.lax.clz(n)
        length = length + jnp.where(n > 1, bits, 0)
        n = jnp.where(n > 1, bits - 1, 1)
    return length


def _vectors(update: PyTree, layerwise: bool):
    """The update as vectors that are quantised one by one, and their way back."""
    if not layerwise:
        vector, unravel = ravel_pytree(update)
        return [vector], lambda parts: unravel(parts[0])
    leaves, treedef = jax.tree.flatten(update)
    vectors = [leaf.reshape(-1) for leaf in leaves]
    return vectors, lambda parts: treedef.unflatten(
        [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    )


def _check_bits(hyper: QSGD, cuts: list[Cut]) -> None:
    """Refuses what could take more bits than an int32 counts: the worst case of any code is below 64 an entry."""
    worst = 1 + level_bits(hyper.levels) if hyper.coding == "fixed" else 64
    entries = sum(cut.size for cut in cuts)
    if entries * worst >= 2**31:
        raise errors.UsageError(
            f"qsgd counts the bits of one message in 31 bits: {entries} entries of up to {worst} bits are too many; "
            "allowed: a smaller model, fewer --levels, or --coding fixed"
        )
