"""FedDST: sparse training at the clients whose masks the server merges by votes."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.config.cards.feddst import FedDST
from fedjax_sparse.costs.counts import Report, training_work
from fedjax_sparse.rounds.masked_averaging import under
from fedjax_sparse.rounds.moving_mask import (
    ClientMove,
    Rule,
    averaging_under_a_moving_mask,
    train_and_move,
    upload,
)
from fedjax_sparse.server import aggregation
from fedjax_sparse.sparsity import allocation, masks, saliency, schedules, topk
from fedjax_sparse.types import Algorithm, Declared, Federation, PyTree, Variables


def feddst(federation: Federation, hyper: FedDST) -> Algorithm:
    """Masks that clients move at the end of their training, and a mean over those who hold an entry.

    Round t, with the server's model w and mask m; in rounds t = 2, 2 + R, 2 + 2R, ... with R = `adjust_every`, up to
    `adjust_until`, each client i moves its mask after its last step:

        w_i  = local SGD from w under m
        m_i  = in every layer l the n_l(s + (1 - s) a) largest |w_i|, and as many of largest |g| as n_l(s) wants;
               what grows starts at 0; g: the dense gradient at w_i on its last batch, a: `drop_fraction`
        w    = sum p_i m_i w_i / sum p_i m_i, entry by entry (0 where nobody holds it)
        m    = entries with sum p_i m_i > `min_votes`; if they are more than N (1 - s): of each layer the n_l(s)
               largest |w|;  w = m * w

        n_l(s) = floor((1 - s_l) size_l), s_l = c (1 - sum(dimensions) / product(dimensions)): densities of ERK
                 rescaled linearly so that the mean of s_l is s, where size_l counts the layer's bias

    The first mask keeps the largest initial weights. In other rounds m_i = m.

    State: the server's mask; each client knows which mask it last got. Costs: living values both ways, with positions
    down to clients that do not know the mask, and up in rounds in which it moved. The gradient that decides counts as a
    pass over its batch under the mask.

    Departures. As the official code: growth looks at all entries and may hit kept ones, which it sets to 0, so that
    some living entries are lost (`growth` "not-kept" counts exactly); the cosine a / 2 (1 + cos(pi t / T_end)), into
    which the code multiplies a twice, only switches moves off, and clients prune with a itself (`decayed` follows the
    cosine, with a once). Not restored: clients drawn twice into a cohort, a softmax before the cross-entropy. Its
    clients take ten epochs at a rate of 0.01, with momentum 0.9 and decay 1e-3 (options of the run).

    References:
        Bibikar et al., Federated Dynamic Sparse Training (arXiv 2112.09824).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    rule = functools.partial(allocation.erk_linear, biases=_biases(federation))
    allocate = functools.partial(masks.allocate, rule, federation.params, among=among)
    counts = allocate(sparsity=hyper.sparsity)
    fewer = jnp.asarray(_after_pruning(federation, hyper, allocate))
    enough = schedules.floor_kept(sum(masks.prunable_sizes(federation.params, among)), hyper.sparsity)
    gradient = make_gradient(federation.loss)
    due_at = jnp.asarray(_shares(federation, hyper) > 0)

    def move(variables, mask, batch, client, t, key):
        del client, key
        kept = topk.largest_per_leaf(saliency.magnitude(variables.params), fewer[t], among, mask)
        scores = jax.tree.map(jnp.abs, gradient(variables, batch)[2])
        missing = jnp.asarray(counts) - trees.count_nonzero(kept)
        outside = jax.tree.map(jnp.logical_not, kept) if hyper.growth == "not-kept" else None
        grown = topk.largest_per_leaf(scores, missing, among, outside)
        grown = jax.tree.map(lambda new, yes: new & yes, grown, among)
        stays = jax.tree.map(lambda keep, new: keep & ~new, kept, grown)
        return stays, masks.union(kept, grown)

    local = train_and_move(federation, ClientMove(lambda t: due_at[t], "end", move, looks=1))

    def work(server, own, client, t, key):
        trained, mask = local(server.variables, server.mask, client, t, key)
        held = jax.tree.map(lambda keep: keep.astype(client.weight.dtype) * client.weight, mask)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(server.mask)))
        sent = trees.scale(trained.variables, client.weight), held
        return sent, own, (report, upload(federation, mask, among, unknown=due_at[t]))

    def merge(server, sent, cohort, t, key):
        del t, key
        total, held = sent
        votes = jax.tree.map(lambda yes, weight: (weight > hyper.min_votes) | (not yes), among, held)
        params = masks.apply(votes, aggregation.mean_over_holders(total.params, held))

        def largest():
            return topk.largest_per_leaf(saliency.magnitude(params), counts, among, votes)

        mask = jax.lax.cond(masks.count(votes, among) > enough, largest, lambda: votes)
        stats = aggregation.weighted_mean(total.stats, cohort.weight)
        new = under(federation, server._replace(variables=Variables(params, stats)), mask)
        return trees.where(jnp.any(cohort.present), new, server)

    def first_mask(params, key):
        del key
        return topk.largest_per_leaf(saliency.magnitude(params), counts, among)

    most = max(enough, int(counts[np.array(jax.tree.leaves(among))].sum()))
    promise = Declared("server", "bounded", lambda t: most, among)
    return averaging_under_a_moving_mask(
        federation, Rule(first_mask, work, merge), among, (promise, promise._replace(what="deployed"))
    )


def _shares(federation: Federation, hyper: FedDST) -> np.ndarray:
    """f64[T + 1]: the share of the living that clients replace in each round; 0 where masks rest."""
    t = np.arange(federation.rounds + 1)
    end = hyper.adjust_until if hyper.adjust_until is not None else max(2, federation.rounds // 2)
    cosine = schedules.cosine_drop_fraction(np.maximum(t - 1, 0), initial=hyper.drop_fraction, end=end)
    share = cosine if hyper.decayed else np.where(cosine > 0, hyper.drop_fraction, 0.0)
    return np.where(((t - 2) % hyper.adjust_every == 0) & (t > 0), share, 0.0)


def _after_pruning(federation: Federation, hyper: FedDST, allocate: Callable) -> np.ndarray:
    """i32[T + 1, L]: entries that a client keeps of each leaf before it grows others."""
    shares = _shares(federation, hyper)
    by_share = {
        share: allocate(sparsity=hyper.sparsity + (1 - hyper.sparsity) * share) for share in set(shares)
    }
    return np.stack([by_share[share] for share in shares])


def _biases(federation: Federation) -> dict[str, int]:
    """The size of the bias beside each kernel, by the kernel's name."""
    leaves: list[tuple[str, str, PyTree]] = list(
        zip(
            trees.names(federation.params),
            jax.tree.leaves(federation.kinds),
            jax.tree.leaves(federation.params),
            strict=True,
        )
    )
    beside = {name.rpartition("/")[0]: leaf.size for name, kind, leaf in leaves if kind == "bias"}
    return {name: beside.get(name.rpartition("/")[0], 0) for name, kind, _ in leaves if kind == "kernel"}
