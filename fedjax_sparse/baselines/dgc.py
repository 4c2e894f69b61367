"""Deep Gradient Compression: clients accumulate momenta and send the largest entries."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.config.cards.dgc import DGC
from fedjax_sparse.costs.counts import subset_message
from fedjax_sparse.rounds.error_feedback import Exchange, Heard, Server, error_feedback, plain_training
from fedjax_sparse.sparsity import topk
from fedjax_sparse.types import Algorithm, Declared, Federation, PyTree

Leaves = list[jax.Array]


class Memory(NamedTuple):
    """What a client keeps of each compressed tensor: u, its momentum, and v, what has not been sent."""

    momentum: Leaves
    owed: Leaves


class Notes(NamedTuple):
    """What the server keeps: the momentum of each tensor that is sent whole, and that of the decay, or ()."""

    momentum: Leaves
    decay: PyTree


def dgc(federation: Federation, hyper: DGC) -> Algorithm:
    """Top-K of momenta that are accumulated at the clients.

    Round t, for each client i of the cohort, with D_i = w_i - W by local SGD from W, and for each tensor of two
    dimensions or more the client's u_i and v_i (zeros at first):

        u_i = m u_i + D_i;  v_i = v_i + u_i                      Nesterov: u_i = m (u_i + D_i);  v_i = v_i + u_i + D_i
        S_i = the k = ceil(d r_t) entries of v_i that are largest in magnitude, out of d
        v_i = 0 there, and u_i = 0 there, too                    `masking`: momentum factor masking
        W   = W + mean_i S_i

    Tensors of one dimension, and all of them where r = 1, are sent whole, and their momentum is one at the server, on
    the mean. r_t = max(r^(t / (warm_up + 1)), r), r being `ratio`. The mean is uniform by default (`weighting`); absent
    clients keep u_i and v_i as they are. With m = 0 this is error correction, with r = 1 FedAvgM, but for masking.

    State: each client keeps u_i and v_i. Up go k values of each tensor with their positions, and the tensors of one
    dimension; the downlink is dense. `server_weight_decay` d adds M = m M + d W and takes M off the step (with
    Nesterov d W + m M): what is compressed knows nothing of it.

    Departures. The paper compresses every step's gradient of every worker; here the step is a round, so that warm-up
    counts rounds, and clients' gradients are clipped in local training (`--clip-norm`). The official code
    (synxlin/deep-gradient-compression) estimates the threshold from a sample of 1 % and sends about k entries; here
    exactly k, ties to the first.

    References:
        Lin et al., Deep Gradient Compression: Reducing the Communication Bandwidth for Distributed Training
        (arXiv 1712.01887).
    """
    split = Split(federation.params, hyper.ratio < 1)
    sizes = [leaf.size for leaf in split.compressed(federation.params)]
    counts = np.array([[math.ceil(d * r) for d in sizes] for r in ratios(hyper, federation.rounds)], np.int32)
    kept = counts.sum(axis=1, dtype=np.int64)

    def first_memory(variables):
        nothing = trees.zeros_like(split.compressed(variables.params))
        return Memory(nothing, nothing)

    def first_notes(variables):
        nothing = trees.zeros_like(variables.params)
        return Notes(split.whole(nothing), nothing if hyper.server_weight_decay else ())

    def upload(values, sent):
        size, positions = trees.size(federation.params) + federation.stats_size, sum(sizes)
        return subset_message(size, values, positions, sent, beside=size - positions)

    promise = Declared("upload", "exact", lambda t: int(kept[t - 1]), split.treedef.unflatten(split.where))
    return error_feedback(
        federation,
        plain_training(federation),
        _exchange(hyper, split, counts),
        declared=(promise,),
        first_memory=first_memory,
        upload=upload,
        first_notes=first_notes,
        conclude=_conclude(hyper, split),
    )


class Split:
    """Which tensors of a model are compressed, those of two dimensions or more, and which are sent whole.

    Attributes:
        treedef: The model's structure.
        where: For each leaf in order, whether it is compressed.
    """

    def __init__(self, params: PyTree, compress: bool):
        leaves, self.treedef = jax.tree.flatten(params)
        self.where = [compress and leaf.ndim > 1 for leaf in leaves]

    def compressed(self, tree: PyTree) -> Leaves:
        """The leaves that are compressed, in order."""
        return [leaf for leaf, yes in zip(jax.tree.leaves(tree), self.where, strict=True) if yes]

    def whole(self, tree: PyTree) -> Leaves:
        """The leaves that are sent whole, in order."""
        return [leaf for leaf, yes in zip(jax.tree.leaves(tree), self.where, strict=True) if not yes]

    def merged(self, compressed: Leaves, whole: Leaves) -> PyTree:
        """The tree with those leaves."""
        parts = {True: iter(compressed), False: iter(whole)}
        return self.treedef.unflatten([next(parts[yes]) for yes in self.where])


def _accumulated(hyper: DGC, u: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The new momentum, and what it adds."""
    m = hyper.momentum
    u = m * (u + step) if hyper.nesterov else m * u + step
    return u, u + step if hyper.nesterov else u


def _exchange(hyper: DGC, split: Split, counts: np.ndarray) -> Exchange:
    """What a client does; counts, i32[T, tensors]: how many entries of each compressed tensor go up in which round."""

    def send(u, v, step, k):
        u, added = _accumulated(hyper, u, step)
        v = v + added
        mask = topk.largest(jnp.abs(v), k)
        sent, zero = jnp.where(mask, v, 0), jnp.zeros_like(v)
        return sent, jnp.where(mask & hyper.masking, zero, u), jnp.where(mask, zero, v)

    def exchange(turn, update, memory):
        ks = jnp.asarray(counts)[turn.t - 1]
        parts = [send(*part) for part in zip(*memory, split.compressed(update), ks, strict=True)]
        sent, us, vs = map(list, zip(*parts, strict=True)) if parts else ([], [], [])
        return split.merged(sent, split.whole(update)), Memory(us, vs), jnp.sum(ks, dtype=jnp.int32)

    return exchange


def _conclude(hyper: DGC, split: Split) -> Callable[[Server, Heard], tuple[Notes, PyTree]]:
    """What the server does with the mean of what came."""
    accumulated = functools.partial(_accumulated, hyper)

    def conclude(server, heard):
        notes = server.notes
        parts = [accumulated(*part) for part in zip(notes.momentum, split.whole(heard.mean), strict=True)]
        momentum, whole = map(list, zip(*parts, strict=True)) if parts else ([], [])
        step = split.merged(split.compressed(heard.mean), whole)
        if not hyper.server_weight_decay:
            return Notes(momentum, ()), step
        shrink = trees.scale(server.variables.params, hyper.server_weight_decay)
        parts = jax.tree.map(accumulated, notes.decay, shrink)
        decay, pull = jax.tree.transpose(split.treedef, jax.tree.structure((0, 0)), parts)
        return Notes(momentum, decay), trees.sub(step, pull)

    return conclude


def ratios(hyper: DGC, rounds: int) -> list[float]:
    """The share that is sent in each round, from the first one on."""
    falling = [hyper.ratio ** (t / (hyper.warm_up + 1)) for t in range(1, rounds + 1)]
    return [max(ratio, hyper.ratio) for ratio in falling]
