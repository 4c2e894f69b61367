"""FLARE: error correction whose residuals also steer local training."""

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import Gradient, in_sequence, make_gradient
from fedjax_sparse.config.cards.flare import Flare
from fedjax_sparse.rounds.error_feedback import Server, decaying, error_feedback, remembering, top_k
from fedjax_sparse.sparsity import compression, masks
from fedjax_sparse.types import Algorithm, Federation, PyTree, Trained


def flare(federation: Federation, hyper: Flare) -> Algorithm:
    """Clients send the largest part of update and residual, and train towards "model plus own residual".

    Round t = 1..T, for each client i of the cohort, with residual A_i (like the parameters, zeros at first):

        tau_t = tau / c^t
        M_l   = 1[|A_l| > percentile_q(|A_l|)]         for each tensor l: the larger half for q = 50
        w     = W; local SGD on  loss(w) + [s < p] tau_t sum_l ||M_l * (w_l - (W_l + A_l))||_1    at its step s
        U     = w - W + A_i;  S_i = TopK(U);  A_i = U - S_i
        W     = W + mean_i S_i

    `hyper.decay` is c, `percentile` q, `first_steps` p, `keep_percent` R: TopK keeps max(1, round(size R / 100))
    entries of each tensor. The percentile is that of TensorFlow Probability: of a tensor's n magnitudes in ascending
    order, entry round((n - 1) q / 100), halves to even, from 0. The comparison is strict: nothing is masked while
    A = 0, so the first round is error correction. Where w = W + A the term's gradient is 0. Kernels and biases are
    pulled, embeddings are not, as in the official code.

    State: each client keeps A_i; the server keeps the dense model. Clients that are absent keep their residuals. With
    tau = 0 or p = 0 this is error correction. The mean is uniform by default (`weighting`).

    Departures. From the official code (RanGreidi/FLARE-Federated-Learning-with-Accumulated-Regularized-Embeddings),
    each with the option that restores it:
        * it keeps what is larger than the (m + 2)-th magnitude, m = round(size R / 100), so m + 1 entries or, with
          ties, fewer; `count_rule = "plus-one"`.
        * it goes on after step p with a fresh momentum; `restart_momentum`.
        * its networks are deep linear (FC), end in two softmaxes (CNN) or lack some ReLUs (VGG-11); models
          `flare_fc:linear=true`, `flare_cnn:double_softmax=true`, `flare_vgg11:relu_by_stage=true`.
    Not restored: it passes through a client's batches in one fixed order, we shuffle anew in each pass; both biases of
    its GRU are one tensor, of which the m + 1 rule sends one entry less (46 in all at R = 0.001, not 47). Rounds count
    from 1 here and from 0 there, where tau_t = tau / c^(t + 1): the values are the same. Whether the mask and p belong
    to the paper's algorithm or to its code alone is not known. `norm = "l2"`, tau_t sum ||M * (w - W - A)||^2, is ours.

    References:
        Greidi and Cohen, Sparse Training for Federated Learning with Regularized Error Correction (arXiv 2312.13795).
    """
    gradient = make_gradient(federation.loss)
    larger = _larger_counts(trees.sizes(federation.params), hyper.percentile)
    among = masks.prunable(federation.kinds, ("kernel", "bias", "norm"))
    tau = decaying(hyper.tau, hyper.decay, federation.rounds)
    slope = {"l1": jnp.sign, "l2": lambda distance: 2 * distance}[hyper.norm]

    def steered(params: PyTree, residual: PyTree, t: jax.Array) -> Gradient:
        target = trees.add(params, residual)
        _, large = compression.above_next_per_leaf(residual, larger, among)

        def pull(here, chosen, w, goal, mask, grad):
            strength = jnp.where(here & mask, tau(t), 0)
            return (grad + strength * slope(w - goal)).astype(grad.dtype) if chosen else grad

        def with_pull(variables, batch):
            loss, stats, grads = gradient(variables, batch)
            here = True if hyper.first_steps == "all" else batch.step < hyper.first_steps
            pulled = jax.tree.map(
                lambda *leaves: pull(here, *leaves), among, variables.params, target, large, grads
            )
            return loss, stats, pulled

        return with_pull

    def train(server: Server, residual, client, t, key) -> Trained:
        toward = steered(server.variables.params, residual, t)
        if not hyper.restart_momentum or hyper.first_steps == "all":
            return federation.train(toward, server.variables, client, t, key)
        end = federation.plan.total_steps(client.count)
        middle = jnp.minimum(hyper.first_steps, end)
        first = federation.train(toward, server.variables, client, t, key, steps=(0, middle))
        rest = federation.train(gradient, first.variables, client, t, key, steps=(middle, end))
        return in_sequence(first, rest)

    select, declared = top_k(federation, hyper)
    return error_feedback(federation, train, remembering(select), declared=declared)


def _larger_counts(sizes: list[int], percentile: float) -> np.ndarray:
    """i32[L]: how many entries of each leaf lie above its percentile: n - 1 - round((n - 1) q/100), halves to even."""
    return np.array([size - 1 - round((size - 1) * (percentile / 100)) for size in sizes], np.int32)
