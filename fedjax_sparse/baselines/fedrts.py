"""FedRTS: Thompson sampling of the mask at the server, from votes of the mean model and of the clients."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.fedrts import FedRTS
from fedjax_sparse.costs.counts import Report, training_work
from fedjax_sparse.rounds.masked_averaging import under
from fedjax_sparse.rounds.moving_mask import (
    Rule,
    averaging_under_a_moving_mask,
    last_gradient,
    last_move,
    layer_counts,
    plain_training,
    random_mask,
    upload,
)
from fedjax_sparse.server.aggregation import weighted_mean
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.sparsity import masks, saliency, topk
from fedjax_sparse.types import Algorithm, Declared, Federation, PyTree


class Posterior(NamedTuple):
    """Of each entry's worth: the parameters of a Beta distribution, both shaped like the parameters."""

    a: PyTree
    b: PyTree


def fedrts(federation: Federation, hyper: FedRTS) -> Algorithm:
    """Masks drawn from what rounds have taught about each entry.

    Round t, averaging under the mask m with n_l entries in layer l, k = int(f(t) n_l):

        o = (1 - gamma) [among the n_l - k largest |w|] + gamma sum_i p_i [among the n_l - k largest |w_i|]    in m
        A = A + lambda o,  B = B + lambda (1 - o)                                          A = B = 1 at first

    In rounds t with t mod `adjust_every` = 0, up to `adjust_until`, clients also send the positions of their k largest
    |g_i| outside m, g_i the dense gradient of one batch at their trained model, and the server

        o = (1 - gamma) / 2 + gamma sum_i p_i [position sent],  A and B likewise                           outside m
        m = of every layer the n_l largest draws of Beta(A, B), one for each entry;  w = m * w

        f(t) = `drop_fraction` / 2 (1 + cos(pi t / `adjust_until`)), which rises again after that; so do votes go on

    State: m, A and B at the server (of everything that is dropped, too); each client knows which mask it last got.
    Costs: living values both ways, with positions down to clients that do not know the mask; in rounds in which it
    moves, k positions up. The gradient counts as a pass over its batch under the mask.

    Departures. Reconstructed: FedPruning's code, the only one at hand, stops at the first adjustment (its clients
    return gradients where positions are expected), and has the first client vote with the mean model, whose weights
    overwrite its own. Draws are the round's own, where the code seeds them with t.

    References:
        Huang et al., FedRTS: Federated Robust Pruning via Combinatorial Thompson Sampling (arXiv 2501.19122).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    counts, kept = layer_counts(federation, hyper, among)
    replaced, due_at = (jnp.asarray(table) for table in _tables(federation, hyper, counts))
    certain = jnp.asarray(counts)[None] - replaced  # i32[T + 1, L]
    train, gradient_of = plain_training(federation), last_gradient(federation)

    def work(server, own, client, t, key):
        trained = train(server.variables, server.mask, client, t, key)
        gradient, looked = gradient_of(trained.variables, client, key, due_at[t])
        outside = jax.tree.map(jnp.logical_not, server.mask)
        wanted = jnp.where(due_at[t], replaced[t], 0)
        inside_votes = topk.largest_per_leaf(
            saliency.magnitude(trained.variables.params), certain[t], among, server.mask
        )
        outside_votes = topk.largest_per_leaf(saliency.magnitude(gradient), wanted, among, outside)
        votes = jax.tree.map(
            lambda a, b, yes: (a | b).astype(client.weight.dtype) * client.weight * yes,
            inside_votes,
            outside_votes,
            among,
        )
        step = weighted_step(trained.variables, server.variables, client.weight)
        trained = trained._replace(examples=trained.examples + looked)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(server.mask)))
        positions = jnp.sum(jnp.where(np.array(jax.tree.leaves(among)), wanted, 0))
        up = upload(federation, server.mask, among, unknown=jnp.asarray(False), located=positions)
        return (step, votes), own, (report, up)

    def merge(server, sent, cohort, t, key):
        total, votes = sent
        variables, opt = server_step(
            federation.server_optimizer, server.variables, server.opt, total, cohort.weight
        )
        someone = jnp.any(cohort.present)
        shares = weighted_mean(votes, cohort.weight)
        best = topk.largest_per_leaf(saliency.magnitude(variables.params), certain[t], among, server.mask)
        heard = jax.tree.map(lambda live, yes: (live | due_at[t]) & yes, server.mask, among)
        posterior = learned(hyper, server.memory, server.mask, best, shares, heard)
        posterior = trees.where(someone, posterior, server.memory)

        def drawn():
            return topk.largest_per_leaf(draws(key, posterior), counts, among)

        mask = jax.lax.cond(due_at[t] & someone, drawn, lambda: server.mask)
        server = server._replace(variables=variables, opt=opt, memory=posterior)
        return under(federation, server, mask)

    def nothing_known(params):
        return Posterior(trees.ones_like(params), trees.ones_like(params))

    rule = Rule(functools.partial(random_mask, counts=counts, among=among), work, merge, nothing_known)
    promise = Declared("server", "bounded", lambda t: kept, among)  # what has just grown is still zero
    return averaging_under_a_moving_mask(
        federation, rule, among, (promise, promise._replace(what="deployed"))
    )


def learned(
    hyper: FedRTS, posterior: Posterior, mask: PyTree, best: PyTree, votes: PyTree, heard: PyTree
) -> Posterior:
    """The posterior after a round.

    Args:
        hyper: gamma and lambda.
        posterior: Before it.
        mask: What lived.
        best: Entries that the mean model votes for; of what did not live it says nothing, that is one half.
        votes: The share of the clients that chose each entry.
        heard: The entries of which the round told anything.
    """

    def worth(live, top, vote):
        return (1 - hyper.client_share) * jnp.where(live, top, 0.5) + hyper.client_share * vote

    def more(old, outcome, here):
        return jnp.where(here, old + hyper.strength * outcome, old)

    outcomes = jax.tree.map(worth, mask, best, votes)
    failures = jax.tree.map(lambda outcome: 1 - outcome, outcomes)
    return Posterior(
        jax.tree.map(more, posterior.a, outcomes, heard), jax.tree.map(more, posterior.b, failures, heard)
    )


def draws(key: jax.Array, posterior: Posterior) -> PyTree:
    """One draw of Beta(a, b) for each entry."""
    leaves, treedef = jax.tree.flatten(posterior.a)
    keys = jax.random.split(key, len(leaves))
    parts = zip(keys, leaves, jax.tree.leaves(posterior.b), strict=True)
    return treedef.unflatten([jax.random.beta(k, a, b, dtype=a.dtype) for k, a, b in parts])


def _tables(federation: Federation, hyper: FedRTS, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By round: int(f(t) n_l), i32[T + 1, L], not clamped after the last move; whether the mask moves, bool[T + 1]."""
    t, end = np.arange(federation.rounds + 1), last_move(federation, hyper)
    share = hyper.drop_fraction / 2 * (1 + np.cos(np.pi * t / end))
    due = (t % hyper.adjust_every == 0) & (t > 0) & (t <= end)
    return np.floor(share[:, None] * counts).astype(np.int32), due
