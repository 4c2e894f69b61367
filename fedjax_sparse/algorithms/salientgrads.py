"""SalientGrads: before training, all clients together find one mask; then federated averaging under that mask."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import errors, trees
from fedjax_sparse.config.cards.salientgrads import SalientGrads
from fedjax_sparse.costs.counts import sparse_message
from fedjax_sparse.rounds.masked_averaging import averaging_under_a_mask
from fedjax_sparse.rounds.scored_mask import Scoring, check_some_kept, make_find_mask, score_on_batch
from fedjax_sparse.sparsity import allocation, masks, saliency, schedules, topk
from fedjax_sparse.types import Algorithm, Federation, PyTree


def salientgrads(federation: Federation, hyper: SalientGrads) -> Algorithm:
    """A mask from the saliencies of all clients at the initial weights w_0, then federated averaging under it.

    Before round 1, with I = `saliency_batches` minibatches for each client k of the whole population:

        s_k = mean over I of |w_0 * g_k|,  g_k the gradient on one freshly drawn minibatch
        s   = mean_k s_k                   (or weighted by examples)
        m   = the int(N density) largest s;  w_0 = m * w_0

    Then each round: w_k = local SGD from w with w_k = m * w_k after each step; w = sum_k p_k w_k.

    N counts kernels only; biases and norms stay dense. `allocation` "global" ranks all layers together, "erk" gives
    each layer its share by Erdős-Rényi-kernel. Weight decay, clipping and the decay of the learning rate (0.998 a
    round in the paper) are options of the run. All I minibatches see the same w_0: this is not the progressive
    pruning that others call iterative SNIP.

    Costs: w_0 to everyone and N saliencies back, then the mask as N bits, once. After that both sides send living
    values, without positions; `upload` "updates" sends those living weights that changed, with their positions.

    With its defaults this is SNIP at all clients, `snip-all`, and the masks are the same: one minibatch, the model's
    own loss, and a mean in which all clients count alike.

    SSFL (arXiv 2405.09037) is the same with saliencies weighted by examples, ties kept, models in evaluation mode as
    they score (`saliency_mode`), and gradients that are masked before they are clipped.

    Departures: the paper's code takes minus the mean logit of the true class for the loss of the saliencies
    (`saliency_loss` "logit"; here cross-entropy), starts round 1 from a dense w_0 (`dense_start`; its first step is
    counted like the others), and keeps all ties at the threshold (`keep_ties`). That it clips the norm of the whole
    gradient, masked entries included, is kept; `clip_living` masks first. Matters of the run: the code's initial
    weights, at which the mask is decided, are PyTorch's (`--model resnet18:init=torch`), its clients draw their
    examples in turns (`--partition dirichlet-by-turns`), and its accuracies are means over clients' own test images
    (`--client-test-size 100`). Not restored: the accuracy of each client's last local model ("personal"), saliencies of
    stratified folds, and the later jobs' split in which all clients share one mixture of classes.

    References:
        Ohib et al., SalientGrads: Sparse Models for Communication Efficient and Data Aware Distributed Federated
        Training (arXiv 2304.07488).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    kept, select = _selection(federation, hyper, among)
    prunable = sum(masks.prunable_sizes(federation.params, among))
    if hyper.saliency_loss == "logit" and federation.task != "classification":
        raise errors.UsageError(
            f"--saliency-loss = 'logit' is not valid for {federation.task} data; allowed: cross-entropy, "
            "which stands for the model's own loss"
        )
    of_each = minus_true_logit if hyper.saliency_loss == "logit" else None
    loss = federation.loss_of(of_each, train=hyper.saliency_mode == "train")

    def say(scores, client):
        return trees.scale(scores, client.count if hyper.saliency_weighting == "examples" else 1)

    def decide(total):
        mask = select(total)
        return mask, masks.ranking(total, mask, among, layerwise=hyper.allocation == "erk")

    upload = functools.partial(sparse_message, prunable, jnp.asarray(prunable), located=0, universe=0)
    score = score_on_batch(loss, saliency.snip, among)
    scoring = Scoring(score, hyper.saliency_batches, 1, say, decide, upload)
    return averaging_under_a_mask(
        federation,
        make_find_mask(federation, scoring, among),
        kept,
        among,
        exact=not hyper.keep_ties,
        start_masked=not hyper.dense_start,
        clip_living=hyper.clip_living,
        upload=hyper.upload,
    )


def minus_true_logit(outputs: jax.Array, y: jax.Array) -> jax.Array:
    """f[B]: what `nll_loss` gives for outputs [B, classes] that no log-softmax has gone over."""
    return -jnp.take_along_axis(outputs, y[:, None], axis=-1)[:, 0]


def _selection(
    federation: Federation, hyper: SalientGrads, among: PyTree
) -> tuple[int, Callable[[PyTree], PyTree]]:
    """How many of the prunable entries to keep, and scores -> mask."""
    sizes = np.asarray(masks.prunable_sizes(federation.params, among))
    if hyper.allocation == "erk":
        rule = functools.partial(allocation.erk, rule=schedules.floor_kept)
        by_leaf = masks.allocate(rule, federation.params, hyper.sparsity, among)
        kept = int(by_leaf[sizes > 0].sum())
        select = functools.partial(topk.largest_per_leaf, ks=by_leaf, among=among)
    else:
        kept = schedules.floor_kept(int(sizes.sum()), hyper.sparsity)
        select = functools.partial(topk.largest_global, k=kept, among=among)
    check_some_kept(kept, int(sizes.sum()), hyper.sparsity)
    if not hyper.keep_ties:
        return kept, select
    layerwise = hyper.allocation == "erk"
    return kept, lambda scores: masks.with_ties(select(scores), scores, among, layerwise=layerwise)
