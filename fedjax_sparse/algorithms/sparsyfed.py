"""SparsyFed: clients train powers of their parameters, prune what they send, and the server averages the survivors.

With its nearest rivals, which are the same round with plain parameters: Top-K weights and a fixed mask.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import identity
from fedjax_sparse.config.cards.sparsyfed import FixedMask, SparsyFed, TopKWeights
from fedjax_sparse.rounds.pruned_uploads import LocalRules, pruned_uploads
from fedjax_sparse.sparsity import masks, powerprop
from fedjax_sparse.types import Algorithm, Federation, PyTree


def sparsyfed(federation: Federation, hyper: SparsyFed) -> Algorithm:
    """Sparse training by re-parameterisation: what is pruned once rarely comes back, so that masks agree.

    The server keeps raw parameters theta; the model computes with w = sign(theta) |theta|^beta in every kernel.
    Round t, for each client i of the cohort:

        theta_i = local SGD from theta on L(w(theta)), with dL/dw taken from each layer's largest inputs
                  a [|a| >= the k-th largest], k = ceil(max(1 - s_l, floor) n), s_l the zeros of its kernel
        theta_i = its N - round(s N) entries of largest magnitude, among all kernels together; 0 elsewhere
        theta   = sum_i p_i theta_i

    N counts every kernel, the first, the 1x1 and the last layer included; biases, norms and model statistics are
    averaged and never pruned. For beta > 1 the gradient at theta = 0 is 0, so that zeros stay zero within local
    training (without momentum) and the survivors of a round are among those of the round before. The server's model
    is the union of what clients sent and denser than s. Deployed is its pruning to s; `server_model` is the union.

    `beta = "spectral"` sets each kernel's exponent at the start of a client's round to 1 + mean|theta| / sigma, sigma
    the largest singular value of |theta| (reconstructed: the paper's and the code's forms differ). `tiers` give groups
    of clients their own s, by id; they prune what they receive, too, from round 2 on. A kernel starts at the parameters
    behind the model's own initial weights (Powerpropagation, arXiv 2110.00296), but at these weights themselves where
    the exponent is spectral.

    Logged per client and averaged: `regrowth` |(B or T) and not P|, `activated` |P and not B|, `deactivated`
    |B and not P|, B the support received, T after training and P sent; `mask_iou_client` of B and P. Of the server's
    model: `mask_iou_rounds` with its last round, `server_density_prunable`, and `density/<kernel>`. IoUs count
    kernels; with `_all` in their name, every scalar of the model that is not zero, statistics included.
    `log_masks` adds `mask_iou_pairs` of P between the clients of a cohort.

    Costs: values with their positions both ways; living weights in the forward pass and the input's gradient, the
    kept share of a layer's inputs in its kernel's gradient.

    Departures from the official code, each of which an option restores:

    * every layer is re-parameterised, also the 1x1 convolutions that the code misses (`skip_downsample`);
    * the threshold of a convolution's inputs is computed in every batch (`cached_thresholds` keeps a round's first);
    * `activation_floor` is 1e-7, 0.01 at the paper's submission;
    * k is exact, where the code rounds (1 - s_l) n up as float64 has it, at times to one more (`counting` "float64").

    And without an option: the power iteration for sigma
    starts at a vector of ones, the code's at random; a stateful server optimiser is zeroed outside the union. Matters
    of the run: `--lr-schedule exponential:0.02@500` is the horizon that the submission's code has for 700 rounds, and
    `--model resnet18:norm=batch,init=lecun` its network with its initial weights (normal, variance 1 / inputs,
    truncated at two standard deviations). Published accuracies are `server_client_test_accuracy`: that of the union, a
    mean over clients' own test images (`--client-test-size 100`; the code samples ten clients a round, we take all).

    References:
        Guastella et al., SparsyFed: Sparse Adaptive Federated Training (arXiv 2504.05153).
    """
    kernels = masks.prunable(federation.kinds, masks.SCOPES["kernels"])

    def is_powered(leaf, kernel):
        pointwise = len(leaf.shape) == 4 and leaf.shape[:2] == (1, 1)
        return kernel and not (hyper.skip_downsample and pointwise)

    powered = jax.tree.map(is_powered, federation.params, kernels)
    spectral = hyper.beta == "spectral"

    def exponents(params):
        one = powerprop.spectral_exponent if spectral else lambda leaf: hyper.beta
        return jax.tree.map(lambda yes, leaf: one(leaf) if yes else 1.0, powered, params)

    def start(weights):
        return weights if spectral else powerprop.raw(weights, exponents(weights))

    leaves = zip(
        trees.names(powered), jax.tree.leaves(powered), jax.tree.leaves(federation.params), strict=True
    )
    axes = {name: len(leaf.shape) for name, yes, leaf in leaves if yes and hyper.activation_pruning}
    sizes = np.array(trees.sizes(federation.params))
    inputs_pruned = np.array([name in axes for name in trees.names(powered)])
    least = np.where(inputs_pruned, np.ceil(hyper.activation_floor * sizes), sizes).astype(np.int32)
    local = LocalRules(
        start=start,
        exponents=exponents,
        project=lambda received: identity,
        weight_gradient=lambda live: jnp.maximum(live, least),
        pruned=frozenset(axes),
        cached=frozenset(name for name in axes if hyper.cached_thresholds and axes[name] == 4),
        floor=hyper.activation_floor,
        counting=hyper.counting,
        tiers=hyper.tier_table,
    )
    return pruned_uploads(federation, hyper, local)


def topk_weights(federation: Federation, hyper: TopKWeights) -> Algorithm:
    """Dense local training, then each client sends the N - round(s N) weights of largest magnitude.

    SparsyFed with plain parameters and no activation pruning: nearly every weight grows back in each round. What is
    kept, sent, deployed and logged is as there. References: the "Top-K" baseline of arXiv 2504.05153.
    """
    sizes = np.array(trees.sizes(federation.params), np.int32)
    local = LocalRules(identity, _ones, lambda received: identity, lambda live: jnp.asarray(sizes))
    return pruned_uploads(federation, hyper, local)


def fixed_mask(federation: Federation, hyper: FixedMask) -> Algorithm:
    """Top-K weights, except that clients train only those weights that they receive as non-zero.

    After round 1, in which training is dense, the union of what clients sent never grows.

    Departures from the official code: biases and norms are trained from the start, where the code takes "value is not
    zero" for a mask of every parameter and so freezes those that start at zero (`freeze_zeros` restores it).

    References: the fixed-mask baseline of arXiv 2504.05153.
    """
    scope = "all" if hyper.freeze_zeros else "kernels"
    among = masks.prunable(federation.kinds, masks.SCOPES[scope])

    def project(received):
        return functools.partial(masks.apply, masks.nonzero(received, among))

    return pruned_uploads(federation, hyper, LocalRules(identity, _ones, project, lambda live: live))


def _ones(params: PyTree) -> PyTree:
    """The exponents of plain parameters."""
    return jax.tree.map(lambda leaf: 1.0, params)
