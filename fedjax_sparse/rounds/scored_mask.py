"""Before round 1, all clients score the initial weights, and the server finds one mask from what they say.

SalientGrads, and SNIP and GraSP at all clients, differ in the score and in what is made of it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import errors, trees
from fedjax_sparse.clients.local_training import Plan, random_batch
from fedjax_sparse.costs.counts import dense_message
from fedjax_sparse.sparsity import masks, saliency
from fedjax_sparse.types import Batch, Client, Federation, Message, Metrics, PyTree, Ranking, Variables, Work

Score = Callable[[Variables, Batch], PyTree]

GRASP_PASSES = 3  # a gradient of a gradient costs about three gradients; both share the first


class Scoring(NamedTuple):
    """How all clients together find a mask.

    Attributes:
        score: (variables, batch) -> scores, shaped like the parameters.
        batches: Freshly drawn minibatches, over which a client averages its scores.
        passes: Gradients that a score costs.
        say: (a client's scores, client) -> what it adds to a sum over all clients.
        select: That sum -> the mask, and how far scores decided it, where that can be said.
        upload: bool[N], who answered -> what it sent.
    """

    score: Score
    batches: int
    passes: int
    say: Callable[[PyTree, Client], PyTree]
    select: Callable[[PyTree], tuple[PyTree, Ranking | None]]
    upload: Callable[[jax.Array], Message]


def check_some_kept(kept: int, prunable: int, sparsity: float) -> None:
    """Refuses a mask of nothing: raises `UsageError` where a `sparsity` leaves none of so many entries."""
    if kept < 1:
        raise errors.UsageError(
            f"--sparsity = {sparsity} leaves none of {prunable} entries; allowed: at least 1"
        )


def score_on_batch(loss: Callable, score: Callable, among: PyTree) -> Score:
    """(variables, batch) -> scores of the chosen leaves, all others being constants.

    Args:
        loss: (variables, batch) -> (mean loss, new stats).
        score: (loss of parameters, parameters) -> scores, such as `saliency.snip`.
        among: Python bool for each leaf.
    """

    def on_batch(variables, batch):
        def of_params(params):
            return loss(Variables(params, variables.stats), batch)[0]

        return score(saliency.of_chosen(of_params, among), variables.params)

    return on_batch


def make_find_mask(federation: Federation, scoring: Scoring, among: PyTree) -> Callable:
    """(variables, cohort of everyone, key) -> (mask, metrics): the model to everyone, scores back, the mask as bits."""
    whole = trees.size(federation.params) + federation.stats_size
    prunable = sum(masks.prunable_sizes(federation.params, among))
    live = jnp.asarray(trees.sizes(federation.params), jnp.int32)
    batches = jnp.asarray(scoring.batches, jnp.int32)

    def work(variables, client_state, client, key):
        scores, examples = mean_score(federation.plan, scoring.score, variables, client, key, scoring.batches)
        done = Work(scoring.passes * examples, batches, live, live, live)
        return scoring.say(scores, client), client_state, done

    def find_mask(variables, cohort, key):
        total, _, done = federation.over_clients(work, variables, (), cohort, key)
        down = dense_message(whole, cohort.invited)._replace(mask_bits=jnp.where(cohort.invited, prunable, 0))
        mask, ranking = scoring.select(total)
        up, no_loss = scoring.upload(cohort.present), jnp.zeros_like(cohort.weight)
        return mask, Metrics(up, down, done, no_loss, {}, ranking)

    return find_mask


def mean_score(
    plan: Plan, score: Score, variables: Variables, client: Client, key: jax.Array, batches: int
) -> tuple[PyTree, jax.Array]:
    """One client's scores, averaged over minibatches that are each drawn from all its examples anew.

    Returns:
        The scores, shaped like the parameters, and i32[], the examples that they took.
    """

    def add_one(i, carry):
        total, examples = carry
        batch = random_batch(client, plan, jax.random.fold_in(key, i))
        scores = score(variables, batch)
        return trees.add(total, scores), examples + jnp.sum(batch.mask, dtype=jnp.int32)

    start = trees.zeros_like(variables.params), jnp.zeros((), jnp.int32)
    total, examples = jax.lax.fori_loop(0, batches, add_one, start)
    return trees.scale(total, 1 / batches), examples
