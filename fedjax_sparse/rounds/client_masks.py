"""Masks of single clients that move at a constant number of living entries: DisPFL and FedSpa share how."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.clients.local_training import make_gradient, random_batch
from fedjax_sparse.sparsity import allocation, masks, saliency, schedules, topk
from fedjax_sparse.types import Client, Federation, PyTree, Variables

Growth = Literal["gradient", "random"]


class MovingMasks(NamedTuple):
    """How many entries live and move, and where masks begin.

    Attributes:
        kept: i64[L], living entries of each leaf.
        moved: i32[T, L], entries of each leaf that a mask exchanges in round t = 1..T.
        draw: key -> a mask that keeps `kept` entries of each leaf at random.
        everywhere: Python bool for each leaf, all True: every tensor is pruned.
        scores: (variables, client, key) -> what is grown first, shaped like the parameters.
    """

    kept: np.ndarray
    moved: jax.Array
    draw: Callable[[jax.Array], PyTree]
    everywhere: PyTree
    scores: Callable[[Variables, Client, jax.Array], PyTree]


def moving_masks(federation: Federation, sparsity: float, fraction: float, growth: Growth) -> MovingMasks:
    """Erdős-Rényi-kernel masks over all tensors, of which fewer and fewer entries move.

    In round t of T, ceil(f_t kept_l) entries of leaf l, with f_t = fraction / 2 (1 + cos(pi (t - 1) / T)).

    Args:
        federation: What the algorithm is built from.
        sparsity: Fraction of zeros over all tensors, in [0, 1).
        fraction: The share that moves in round 1, in [0, 1].
        growth: By the size of the gradient of one batch, in evaluation mode, or at random.
    """
    everywhere = jax.tree.map(lambda leaf: True, federation.params)
    kept = masks.allocate(allocation.erk_whole_part, federation.params, sparsity, everywhere)
    rounds = np.arange(federation.rounds)
    shares = schedules.cosine_drop_fraction(rounds, initial=fraction, end=federation.rounds)
    # Rounded first: 0.125 * 8 may come out a hair above 1, and means 1.
    moved = np.ceil(np.round(shares[:, None] * kept, 9)).astype(np.int32)

    def draw(key):
        return topk.largest_per_leaf(saliency.random(key, federation.params), kept, everywhere)

    scores = functools.partial(_gradient_size, federation) if growth == "gradient" else _random
    return MovingMasks(kept, jnp.asarray(moved), draw, everywhere, scores)


def _gradient_size(federation: Federation, variables: Variables, client: Client, key: jax.Array) -> PyTree:
    """|gradient| on one batch that is drawn from all examples of the client."""
    batch = random_batch(client, federation.plan, key)
    _, _, grads = make_gradient(federation.loss_of(None, train=False))(variables, batch)
    return jax.tree.map(jnp.abs, grads)


def _random(variables: Variables, client: Client, key: jax.Array) -> PyTree:
    del client
    return saliency.random(key, variables.params)
