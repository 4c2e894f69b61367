"""EF-signSGD: clients send signs and one scale of each tensor, and remember what these miss."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.config.cards.ef_signsgd import EFSignSGD
from fedjax_sparse.costs.counts import sparse_message
from fedjax_sparse.rounds.error_feedback import Exchange, error_feedback, nothing, plain_training
from fedjax_sparse.sparsity import compression
from fedjax_sparse.types import Algorithm, Federation, Message

SIGNS = {"plus": lambda leaf: jnp.where(leaf >= 0, 1, -1), "zero": jnp.sign}
BITS = {"plus": 1, "zero": 2}


def ef_signsgd(federation: Federation, hyper: EFSignSGD) -> Algorithm:
    """Scaled signs of the update, with error correction.

    Round t, for each client i of the cohort, with residual A_i (like the parameters, zeros at first):

        P   = w_i - W + A_i, with w_i = local SGD from W
        S_i = (||P_l||_1 / d_l) sign(P_l) for each tensor l of d_l entries;  A_i = P - S_i
        W   = W + mean_i S_i

    so that what is sent has the l1 norm of what was owed. The mean is uniform by default (`weighting`), and absent
    clients keep their residuals. A tensor of zeros sends zeros.

    `majority_step` eta is signSGD with majority vote, which nobody needs a memory for:

        W   = W + eta sign(sum_i p_i sign(w_i - W))        entry by entry; a tie counts as a zero does

    State: each client keeps A_i. Up go one scale a tensor (a vote has none) and one bit an entry; the downlink is
    dense, also of a vote, since whoever was away could not follow its signs.

    Departures: the paper compresses every step's gradient, times the learning rate; here the step is a round, and
    momentum and weight decay belong to local training. The official code (epfml/error-feedback-SGD) has sign(0) = 0,
    which one bit cannot say (`sign_of_zero` "zero", counted as two bits). Not restored: a port (GRACE) forgets the
    learning rate in its first step and adds up the clients instead of averaging them.

    References:
        Karimireddy et al., Error Feedback Fixes SignSGD and other Gradient Compression Schemes (arXiv 1901.09847).
        Bernstein et al., signSGD with Majority Vote is Communication Efficient and Fault Tolerant (arXiv 1810.05291).
    """
    sign = SIGNS[hyper.sign_of_zero]
    train, upload = plain_training(federation), functools.partial(_upload, federation, hyper)
    if hyper.majority_step is not None:
        vote, conclude = _majority_vote(sign, hyper.majority_step)
        return error_feedback(
            federation, train, vote, first_memory=nothing, upload=upload(scales=0), conclude=conclude
        )

    def scaled_sign(leaf):
        return (jnp.mean(jnp.abs(leaf)) * sign(leaf)).astype(leaf.dtype)

    def exchange(turn, update, memory):
        del turn
        return compression.remainder_feedback(
            lambda total: (jax.tree.map(scaled_sign, total), ()), update, memory
        )

    scales = len(jax.tree.leaves(federation.params))
    return error_feedback(federation, train, exchange, upload=upload(scales=scales))


def _majority_vote(sign: Callable[[jax.Array], jax.Array], step: float) -> tuple[Exchange, Callable]:
    """What a client sends, and how the server concludes: see `error_feedback`."""

    def vote(turn, update, memory):
        del turn
        return jax.tree.map(lambda leaf: sign(leaf).astype(leaf.dtype), update), memory, ()

    def conclude(server, heard):
        return server.notes, jax.tree.map(lambda leaf: (step * sign(leaf)).astype(leaf.dtype), heard.mean)

    return vote, conclude


def _upload(federation: Federation, hyper: EFSignSGD, *, scales: int) -> Callable[..., Message]:
    """The message: a sign of each entry, so many scales, and the model statistics."""
    size, stats_size = trees.size(federation.params), federation.stats_size

    def upload(counts, sent):
        del counts
        bits = BITS[hyper.sign_of_zero] * size
        return sparse_message(
            size + stats_size, scales + stats_size, sent, located=0, universe=0, code_bits=bits
        )

    return upload
