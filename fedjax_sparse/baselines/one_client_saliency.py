"""SNIP and GraSP in a federation: one client's first batch decides what lives, before training starts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.executor import of_cohort, those_at
from fedjax_sparse.clients.local_training import take_batch
from fedjax_sparse.config.cards.one_client_saliency import OneClientSaliency
from fedjax_sparse.costs.counts import dense_message, sparse_message
from fedjax_sparse.rounds.masked_averaging import averaging_under_a_mask
from fedjax_sparse.rounds.scored_mask import GRASP_PASSES, check_some_kept, score_on_batch
from fedjax_sparse.sparsity import masks, saliency, schedules, topk
from fedjax_sparse.types import Algorithm, Batch, Client, Federation, Metrics, Work


def snip(federation: Federation, hyper: OneClientSaliency) -> Algorithm:
    """A mask from the saliencies of one random client, then federated averaging under it.

        m = the round(N (1 - s)) largest |w_0 * g|,  g the gradient on the client's first batch

    N counts the leaves in `scope`, and g is that of these leaves. The model infers as it scores, as in the code of
    FedSparsify: dropout is off and BatchNorm takes its running statistics; `saliency_mode` "train" is as in training.
    Costs: the model to the client, its N saliencies back, the mask to everyone.

    Departures from the code of FedSparsify, whose baseline this is: it scores all leaves but norms (`scope`
    "no-norms"), keeps all ties at the threshold (`keep_ties`), and takes "value is not zero" for the mask, which
    freezes every bias and norm shift that starts at zero (`mask_from_values`; not the BatchNorm means, that here
    are no parameters). SNIP's own code draws new weights for the scoring; FedSparsify's does not, nor does this.

    References:
        Lee et al., SNIP: Single-shot Network Pruning based on Connection Sensitivity (arXiv 1810.02340); Stripelis et
        al. (arXiv 2204.12430).
    """
    return _one_client_saliency(federation, hyper, saliency.snip, passes=1)


def grasp(federation: Federation, hyper: OneClientSaliency) -> Algorithm:
    """Like `snip`, with the scores w_0 * H g: H the Hessian and g the gradient on one client's first batch.

    H and g are those of the leaves in `scope`: all other leaves are constants.

    Departures from the code of FedSparsify: as of `snip`, but there GraSP scores all leaves (`scope` "all"). From
    GraSP's own code: one batch as it comes in place of a batch balanced over the classes and split in two, logits
    that are not divided by 200, and no new weights for the scoring.

    References:
        Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow (arXiv 2002.07376); Stripelis
        et al. (arXiv 2204.12430).
    """
    return _one_client_saliency(federation, hyper, saliency.grasp, passes=GRASP_PASSES)


def _one_client_saliency(
    federation: Federation, hyper: OneClientSaliency, score: Callable, passes: int
) -> Algorithm:
    """`score(loss, params)` ranks the parameters and costs as much as `passes` gradients."""
    among = masks.prunable(federation.kinds, masks.SCOPES[hyper.scope])
    prunable = sum(masks.prunable_sizes(federation.params, among))
    kept = schedules.round_kept(prunable, hyper.sparsity)
    check_some_kept(kept, prunable, hyper.sparsity)
    whole = trees.size(federation.params) + federation.stats_size
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)
    loss = federation.loss_of(None, train=hyper.saliency_mode == "train")

    def work(variables, client_state, client, key):
        batch = first_batch(federation, client, key)
        scores = score_on_batch(loss, score, among)(variables, batch)
        examples = passes * jnp.sum(batch.mask, dtype=jnp.int32)
        return scores, client_state, Work(examples, jnp.asarray(1, jnp.int32), live, live, live)

    def find_mask(variables, cohort, key):
        choice_key, work_key = jax.random.split(key)
        chosen = jax.random.randint(choice_key, (), 0, cohort.id.shape[0])
        scores, _, done = federation.over_clients(
            work, variables, (), those_at(cohort, chosen[None]), work_key
        )
        done, no_loss = of_cohort(done, chosen[None], cohort), jnp.zeros_like(cohort.weight)
        mask = topk.largest_global(scores, kept, among)
        if hyper.keep_ties:
            mask = masks.with_ties(mask, scores, among, layerwise=False)
        ranking = masks.ranking(scores, mask, among)
        if hyper.mask_from_values:
            mask = masks.intersect(mask, jax.tree.map(lambda leaf: leaf != 0, variables.params))
        one = jnp.arange(cohort.id.shape[0]) == chosen
        up = sparse_message(prunable, jnp.asarray(prunable), one, located=0, universe=0)
        down = dense_message(whole, one)._replace(mask_bits=jnp.where(cohort.invited, prunable, 0))
        return mask, Metrics(up, down, done, no_loss, {}, ranking)

    exact = not (hyper.keep_ties or hyper.mask_from_values)
    return averaging_under_a_mask(federation, find_mask, kept, among, exact=exact)


def first_batch(federation: Federation, client: Client, key: jax.Array) -> Batch:
    """The client's first examples, as many as a local step takes, in the order in which it holds them."""
    plan = federation.plan._replace(passes=1)
    rows = jnp.pad(client.index, (0, -client.index.shape[0] % plan.batch_size))[None]
    return take_batch(client, plan, rows, 0, key)
