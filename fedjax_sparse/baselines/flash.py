"""FLASH: a few clients find how dense each layer should be; then a fixed mask, or masks that go on moving."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import errors, trees
from fedjax_sparse.clients.executor import of_cohort, those_at
from fedjax_sparse.clients.local_training import identity, make_gradient
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.flash import FirstStage, Flash, FlashJMWST
from fedjax_sparse.config.cards.sparsyfed import PrunedUploads
from fedjax_sparse.costs.counts import Report, sparse_message, training_work
from fedjax_sparse.rounds.masked_averaging import averaging_under_a_mask, masked_gradient, under
from fedjax_sparse.rounds.moving_mask import (
    ClientMove,
    Rule,
    averaging_under_a_moving_mask,
    living_part,
    random_mask,
    train_and_move,
    upload,
)
from fedjax_sparse.rounds.pruned_uploads import LocalRules, in_some_upload, pruned_uploads
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.sparsity import masks, saliency, schedules, topk
from fedjax_sparse.sparsity.shares import apportion, ceil_share, floor_share, rounded_up
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, PyTree, State, Trained

MOST = 2**30  # entries of all masks that are counted together

# How many entries each layer grows: (shares f[L], their sum i32[], room i32[L]) -> i32[L].
GROWTH = {"exact": apportion, "rounded-up": lambda shares, total, rooms: rounded_up(shares, rooms)}


def flash(federation: Federation, hyper: Flash) -> Algorithm:
    """SPDST: sensitivities of layers from sparse training at some clients, then one random mask.

    Before round 1, a share `first_clients` of the clients, each from w_0 under one random mask of density d = 1 - s,
    trains E = `first_epochs` passes over its data, and after each but the last prunes and grows:

        drop   ceil(a n_l) smallest |w| of each layer l, n_l living; a = `drop_fraction` (1 - passes taken / E)
        grow   as many in all, shared among layers in proportion to the mean |w| of their living weights, at random;
               new weights are 0, what was dropped and grown again keeps its value

        d_l = mean over these clients of the layer's density, times a factor that makes the whole d, at most 1

    Then a random mask of floor(d_l size_l) entries each, on w_0, and federated averaging under it.

    State: the mask beside the model. Costs: to the first clients w_0 under its mask, back one density for each layer,
    and the mask as bits to everyone; then living values both ways. The first stage's work is counted under its first
    mask.

    Departures. The densities are shared out exactly: growth by largest remainders, where the code rounds up, fills a
    layer to 99 percent and rounds down (`growth_shares`); masks hold exact numbers, where it throws a coin for every
    entry. What the cap at 1 takes away is lost, as there. It re-initialises the model after the first stage; w_0 is as
    good a draw. It prunes convolutions only (`prune_layers`). Its mean is unweighted, and its rate falls from 0.1 to
    0.001 over 1000 rounds whatever their number (`--lr-schedule`).

    `version` "sparsyfed" is what SparsyFed's code compares itself with: every round, clients train what they receive as
    non-zero (in round 1 everything) and send their N - round(s N) largest weights; after round 1 the server keeps of
    each layer the floor(mean count) largest mean weights. Weights stay as trained, means are weighted by examples
    (`--weighting examples`), and densities are not scaled to d. There, what is zero at the start is never trained
    (`freeze_zeros`), biases included.

    References:
        Babakniya et al., Revisiting Sparsity Hunting in Federated Learning: Why does Sparsity Consensus Matter?
        (Transactions on Machine Learning Research, 2023).
    """
    if hyper.version == "sparsyfed":
        return _as_sparsyfed_has_it(federation, hyper)
    stage = _first_stage(federation, hyper)
    return averaging_under_a_mask(federation, stage.find_mask, stage.kept, stage.among, exact=False)


def _as_sparsyfed_has_it(federation: Federation, hyper: Flash) -> Algorithm:
    """Top-K uploads under what was received, and one pruning of each layer by the server."""
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    trained = masks.prunable(federation.kinds, masks.SCOPES["all" if hyper.freeze_zeros else "kernels"])

    def project(received):
        return functools.partial(masks.apply, masks.nonzero(received, trained))

    def merged(params, votes, present, t):
        union = in_some_upload(params, votes, present, t)
        counts = jnp.stack([jnp.sum(vote) for vote in jax.tree.leaves(votes)])
        mean = counts // jnp.maximum(jnp.sum(present, dtype=jnp.int32), 1)
        return jax.lax.cond(
            (t == 1) & jnp.any(present),
            lambda: topk.largest_per_leaf(saliency.magnitude(params), mean, among, union),
            lambda: union,
        )

    local = LocalRules(
        start=identity,
        exponents=lambda params: jax.tree.map(lambda leaf: 1.0, params),
        project=project,
        weight_gradient=lambda live: live,
        merged=merged,
    )
    return pruned_uploads(federation, PrunedUploads(sparsity=hyper.sparsity), local)


def flash_jmwst(federation: Federation, hyper: FlashJMWST) -> Algorithm:
    """JMWST: the first stage of `flash`, and then masks that clients go on moving.

    Rounds in which `adjust_every` divides t - 1; in others the mask m stays:

        client i   trains half its steps and one under m, prunes and grows as in the first stage (with the share of the
                   steps that it has taken), and trains the rest: w_i, m_i
        server     w = mean of w_i, dense where masks differ;
                   m = of each layer the floor(mean size of the m_i) largest |w|, scaled down if they exceed d in all

    Deployed is m * w, which is what clients get. `densities_from` "mean": layers as dense as w itself, scaled to d.

    State: w, m; each client knows which mask it last got. Costs: living values, with positions down to clients that do
    not know m, and up in rounds in which they moved it. Work is counted under the mask received.

    Departures: as of `flash`. Reconstructed: that the mask moves at the end of the rounds counted from 0 which
    `adjust_every` divides. What rounding down takes from each layer in each such round is lost, as in the code.

    References:
        As `flash`.
    """
    stage, optimizer = _first_stage(federation, hyper), federation.server_optimizer
    among, prune_and_grow = stage.among, stage.prune_and_grow

    def due(t):
        return (t - 1) % hyper.adjust_every == 0

    def middle(client):
        total = federation.plan.total_steps(client.count)
        return jnp.minimum(total // 2 + 1, total)

    def move(variables, mask, batch, client, t, key):
        del batch, t
        total = federation.plan.total_steps(client.count)
        new = prune_and_grow(variables.params, mask, total - middle(client), jnp.maximum(total, 1), key)
        return masks.intersect(mask, new), new

    local = train_and_move(federation, ClientMove(due, middle, move))

    def work(server, own, client, t, key):
        received = living_part(server)
        trained, mask = local(received, server.mask, client, t, key)
        step = weighted_step(trained.variables, received, client.weight)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(server.mask)))
        up = upload(federation, mask, among, unknown=due(t))
        return (step, trees.count_nonzero(mask)), own, (report, up)

    def merge(server, sent, cohort, t, key):
        del key
        total, counts = sent
        variables, opt = server_step(optimizer, living_part(server), server.opt, total, cohort.weight)
        clients = jnp.sum(cohort.present, dtype=jnp.int32)
        if hyper.densities_from == "mean":
            counts, clients = trees.count_nonzero(variables.params), jnp.int32(1)

        def largest():
            ks = stage.scaled(counts, clients)
            return topk.largest_per_leaf(saliency.magnitude(variables.params), ks, among)

        mask = jax.lax.cond(due(t) & jnp.any(cohort.present), largest, lambda: server.mask)
        return server._replace(variables=variables, opt=opt, mask=mask)

    def prepare(state, cohort, key):
        mask, metrics = stage.find_mask(state.server.variables, cohort, key)
        known = state.client._replace(known=jnp.zeros_like(state.client.known))
        return State(under(federation, state.server, mask), known), metrics

    rule = Rule(lambda params, key: masks.ones(params), work, merge)
    promise = Declared("deployed", "bounded", lambda t: stage.kept, among)
    return averaging_under_a_moving_mask(federation, rule, among, (promise,), prepare)


class _FirstStage(NamedTuple):
    """What both variants build on.

    Attributes:
        among: Where pruning is allowed.
        kept: Entries that the mask keeps at most.
        find_mask: (variables, cohort of everyone, key) -> (mask, metrics).
        prune_and_grow: (params, mask, part, whole, key) -> the mask after; the share replaced is `drop_fraction` times
            part / whole.
        scaled: (sums over clients i32[L] of each leaf's entries, clients i32[]) -> i32[L], their mean, scaled down
            where it exceeds `kept`.
    """

    among: PyTree
    kept: int
    find_mask: Callable
    prune_and_grow: Callable
    scaled: Callable


def _first_stage(federation: Federation, hyper: FirstStage) -> _FirstStage:
    def is_pruned(kind, leaf):
        return kind == "kernel" and (hyper.prune_layers == "all" or len(leaf.shape) == 4)

    among = jax.tree.map(is_pruned, federation.kinds, federation.params)
    chosen = np.array(jax.tree.leaves(among))
    sizes = np.array(trees.sizes(federation.params), np.int64)
    prunable, whole = int(sizes[chosen].sum()), int(sizes.sum()) + federation.stats_size
    kept = schedules.floor_kept(prunable, hyper.sparsity)
    counts = np.array([schedules.floor_kept(int(n), hyper.sparsity) for n in sizes], np.int32)
    places = max(1, round(hyper.first_clients * federation.population))
    _check(hyper, among, counts, chosen, max(places, federation.cohort_size) * prunable)
    drop = schedules.exact(hyper.drop_fraction)

    def prune_and_grow(params, mask, part, whole, key):
        return _prune_and_grow(
            params,
            mask,
            drop.numerator * part,
            drop.denominator * whole,
            key,
            among,
            GROWTH[hyper.growth_shares],
        )

    train = _train_and_prune(federation, hyper.first_epochs, prune_and_grow)

    def work(shared, client_state, client, key):
        variables, mask = shared
        trained, own = train(variables, mask, client, key)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(mask)))
        return trees.count_nonzero(own), client_state, report

    def find_mask(variables, cohort, key):
        choice_key, first_key, work_key, mask_key = jax.random.split(key, 4)
        everyone = cohort.id.shape[0]
        some = jax.random.choice(choice_key, everyone, (places,), replace=False)
        first = random_mask(variables.params, first_key, counts, among)
        start = masks.model_under(variables, first)
        total, _, report = federation.over_clients(work, (start, first), (), those_at(cohort, some), work_key)
        report = of_cohort(report, some, cohort)
        own = jnp.where(chosen, total, 0)
        # Densities in proportion to `own`, kept in all.
        ks = jnp.minimum(floor_share(own, kept, jnp.maximum(jnp.sum(own), 1)), sizes.astype(np.int32))
        mask = random_mask(variables.params, mask_key, ks, among)
        asked = jnp.zeros(everyone, bool).at[some].set(True)
        living = int(counts[chosen].sum())
        down = sparse_message(whole, whole - prunable + living, asked, located=living, universe=prunable)
        down = down._replace(mask_bits=jnp.where(cohort.invited, prunable, 0))
        densities = int(chosen.sum())
        up = sparse_message(densities, densities, asked, located=0, universe=0)
        return mask, Metrics(up, down, report.work, report.loss, {})

    def scaled(sums, clients):
        own = jnp.where(chosen, sums, 0)
        total = jnp.sum(own)
        mean = own // jnp.maximum(clients, 1)
        return jnp.where(total > clients * kept, floor_share(own, kept, jnp.maximum(total, 1)), mean)

    return _FirstStage(among, kept, find_mask, prune_and_grow, scaled)


def _train_and_prune(federation: Federation, epochs: int, prune_and_grow: Callable) -> Callable:
    """(variables, mask, client, key) -> (trained, mask): passes with prune-and-grow after each but the last."""
    gradient, plan = make_gradient(federation.loss), federation.plan

    def train(variables, mask, client, key):
        train_key, grow_key = jax.random.split(key)
        steps = plan.steps_per_pass(client.count)

        def epoch(e, carry):
            variables, mask, loss, examples = carry
            project = functools.partial(masks.apply, mask)
            trained = federation.train(
                masked_gradient(gradient, mask),
                variables,
                client,
                jnp.int32(1),
                train_key,
                project,
                (e * steps, (e + 1) * steps),
            )
            params, left = trained.variables.params, epochs - e - 1
            new = jax.lax.cond(
                left > 0,
                lambda: prune_and_grow(params, mask, left, epochs, jax.random.fold_in(grow_key, e)),
                lambda: mask,
            )
            params = masks.apply(masks.intersect(mask, new), params)
            return (
                trained.variables._replace(params=params),
                new,
                loss + trained.loss / epochs,
                examples + trained.examples,
            )

        start = variables, mask, jnp.zeros(()), jnp.int32(0)
        variables, mask, loss, examples = jax.lax.fori_loop(0, epochs, epoch, start)
        return Trained(variables, loss, examples, epochs * steps), mask

    return train


def _prune_and_grow(
    params: PyTree,
    mask: PyTree,
    part: jax.Array,
    whole: jax.Array,
    key: jax.Array,
    among: PyTree,
    share_out: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> PyTree:
    """The mask after a share part / whole of each layer has given way to random entries of all layers."""
    leaves, treedef = jax.tree.flatten(params)
    living, chosen = treedef.flatten_up_to(mask), np.array(jax.tree.leaves(among))
    sizes, counts = np.array(trees.sizes(params), np.int32), trees.count_nonzero(mask)
    sums = jnp.stack([jnp.sum(jnp.abs(w), where=live) for w, live in zip(leaves, living, strict=True)])
    means = jnp.where(chosen & (counts > 0), sums / jnp.maximum(counts, 1), 0)
    removed = jnp.where(chosen, ceil_share(counts, part, whole), 0)
    gone = [
        topk.largest(-jnp.abs(w), n, live) if yes else jnp.zeros_like(live)
        for w, n, live, yes in zip(leaves, removed, living, chosen, strict=True)
    ]
    left = treedef.unflatten([live & ~out for live, out in zip(living, gone, strict=True)])
    total = jnp.sum(means)
    even = chosen / chosen.sum()
    weights = jnp.where(total > 0, means / jnp.where(total > 0, total, 1), even)
    rooms, grows = jnp.asarray(sizes) - counts + removed, jnp.sum(removed)
    shared_out = share_out(grows * weights[chosen], grows, rooms[chosen])
    numbers = jnp.zeros_like(removed).at[chosen].set(shared_out)
    outside = jax.tree.map(jnp.logical_not, left)
    grown = topk.largest_per_leaf(saliency.random(key, params), numbers, among, outside)
    return masks.union(left, grown)


def _check(hyper: FirstStage, among: PyTree, counts: np.ndarray, chosen: np.ndarray, counted: int) -> None:
    """Refuses models without what is to be pruned, layers left empty, and more entries than can be counted."""
    if not chosen.any():
        raise errors.UsageError(
            f"--prune-layers = {hyper.prune_layers!r} is none of this model's layers; allowed here: all"
        )
    for name, count, yes in zip(trees.names(among), counts, chosen, strict=True):
        if yes and count < 1:
            raise errors.UsageError(
                f"--sparsity = {hyper.sparsity} leaves layer {name!r} empty; allowed: at least 1 entry"
            )
    if counted >= MOST:
        raise errors.UsageError(
            f"--first-clients = {hyper.first_clients} has masks of {counted} entries counted; allowed: below {MOST}"
        )
