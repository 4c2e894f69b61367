"""PruneFL: reconfigurations of one mask, so that the squared gradient in a unit of time is as large as can be."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.executor import of_cohort, those_at
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.own_accuracy import make_own_accuracy
from fedjax_sparse.clients.steps import weighted_step
from fedjax_sparse.config.cards.prunefl import PruneFL
from fedjax_sparse.costs.counts import Report, sparse_message, training_work
from fedjax_sparse.rounds.moving_mask import Rule, averaging_under_a_moving_mask, living_part, upload
from fedjax_sparse.server.optimizer import server_step
from fedjax_sparse.sparsity import masks, saliency, topk
from fedjax_sparse.sparsity.shares import floor_share
from fedjax_sparse.types import (
    Algorithm,
    Client,
    Declared,
    Federation,
    Metrics,
    PyTree,
    State,
    Trained,
    Variables,
)

WHOLE = 2**28  # parts into which a share is cut
CALM, WITHIN = 5, 0.1  # the first stage ends when the density moved by so little so many times in a row


def prunefl(federation: Federation, hyper: PruneFL) -> Algorithm:
    """A mask that is reconfigured by what its entries gain and how long they take.

    Reconfiguration at the share rho, with squared gradients G and times t_l of a layer's entries:

        stays       of every layer all but the int(rho n_l) smallest living |w| (ties stay), and all that is no kernel
        D = sum of G over what stays;  T = `constant_time` + sum over the kernels' entries that stay of t_l
        then        the other entries, best G / t_l first, enter as long as G / t_l > D / T: D += G, T += t_l

    which makes D / T as large as can be. The fixed point is found by Dinkelbach's iteration, without sorting.

    Before round 1 one random client trains rounds of `first_steps` steps under its mask, dense at first, with G the sum
    of its batches' squared gradients since the last reconfiguration. From the round at whose start its accuracy reaches
    `first_accuracy` it reconfigures every `adjust_every` rounds, at rho = `drop_fraction`, until the density has moved
    by at most a tenth five times in a row, or for `first_rounds` rounds. Its model and mask are the server's first
    ones.

    Then rounds of averaging under the mask. Client i adds (sum of its round's dense gradients)^2 to its G_i. In rounds
    that `adjust_every` divides it sends G_i and forgets it; the server reconfigures, with G = sum_i p_i G_i and
    rho = `drop_fraction` * 0.5^(t / `half_life`). What comes back has the last value that it had (`remember`).

    State: model (what is dropped, too) and mask at the server; G_i, of the size of the model, at each client, which
    also knows which mask it last got. Costs: living values both ways, with positions down to clients that do not know
    the mask; a value for each parameter up when G_i is sent. The first stage's steps count as dense.

    Departures. The code's times were measured on its devices, for its networks: here they are options, a time to send
    and a time for each use in an example, equal for all layers unless stated (reconstructed). All clients take part
    there (`--cohort-size all`), so that it does not say what becomes of the G_i of absent ones: here it waits.
    1.5 / classes is meant by `first_accuracy`, which is 0.15 unless stated. The first accuracy is that on the client's
    own examples. Rates halve every 10,000 rounds in the code (`--lr-schedule`).

    References:
        Jiang et al., Model Pruning Enables Efficient Federated Learning on Edge Devices (arXiv 1909.12326).
    """
    among = masks.prunable(federation.kinds, masks.SCOPES["kernels"])
    reconfigure = make_reconfigure(federation, hyper, among)
    rates = hyper.drop_fraction * 0.5 ** (np.arange(federation.rounds + 1) / hyper.half_life)
    shares = jnp.asarray(in_parts(rates))
    size, optimizer = trees.size(federation.params), federation.server_optimizer

    def due(t):
        return t % hyper.adjust_every == 0

    def work(server, own, client, t, key):
        received = living_part(server)
        trained, summed = _train(federation, received, server.mask, client, t, key, lambda g: g, None)
        own = trees.add(own, jax.tree.map(jnp.square, summed))
        told = trees.scale(own, jnp.where(due(t), client.weight, 0))
        step = weighted_step(trained.variables, received, client.weight)
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(server.mask)))
        more = jnp.where(due(t), size, 0)
        up = upload(federation, server.mask, among, unknown=jnp.asarray(False), more=more)
        return (step, told), trees.where(due(t), trees.zeros_like(own), own), (report, up)

    def merge(server, sent, cohort, t, key):
        del key
        total, squared = sent
        variables, opt = server_step(optimizer, server.variables, server.opt, total, cohort.weight)
        mask = jax.lax.cond(
            due(t) & jnp.any(cohort.present),
            lambda: reconfigure(variables.params, server.mask, squared, shares[t]),
            lambda: server.mask,
        )
        server = server._replace(variables=variables, opt=opt, mask=mask)
        return server if hyper.remember else server._replace(variables=living_part(server))

    rule = Rule(lambda params, key: masks.ones(params), work, merge, own=trees.zeros_like)
    prepare = _first_stage(federation, hyper, reconfigure, among) if hyper.first_rounds else None
    return averaging_under_a_moving_mask(
        federation, rule, among, (Declared("deployed", "measured", None, among),), prepare
    )


def in_parts(shares: np.ndarray) -> np.ndarray:
    """i32[...]: shares in parts of `WHOLE`, rounded up, so that 0.3 of ten are three."""
    return np.ceil(shares * WHOLE).astype(np.int32)


def make_reconfigure(federation: Federation, hyper: PruneFL, among: PyTree) -> Callable[..., PyTree]:
    """(params, mask, squared gradients, share in parts i32[]) -> the mask after, as `prunefl` states."""
    times = [
        hyper.communication_time + hyper.computation_time * uses for uses in jax.tree.leaves(federation.uses)
    ]
    of_kernels = np.where(jax.tree.leaves(among), times, 0.0)
    prunable = sum(masks.prunable_sizes(federation.params, among))

    def stays(params, mask, part):
        left = trees.count_nonzero(mask) - floor_share(trees.count_nonzero(mask), part, WHOLE)
        kept = topk.largest_per_leaf(saliency.magnitude(params), left, among, mask)
        kept = masks.with_ties(kept, saliency.magnitude(params), among, layerwise=True)
        return masks.intersect(kept, mask)

    def reconfigure(params, mask, squared, part):
        kept = stays(params, mask, part)
        leaves, treedef = jax.tree.flatten(squared)
        candidates = [
            ~keep if yes else jnp.zeros_like(keep)
            for keep, yes in zip(treedef.flatten_up_to(kept), jax.tree.leaves(among), strict=True)
        ]
        worth = [g / time for g, time in zip(leaves, times, strict=True)]

        def entering(level):
            return [here & (value > level) for here, value in zip(candidates, worth, strict=True)]

        def rate(entered):
            gain = sum(
                jnp.sum(g, where=keep | new)
                for g, keep, new in zip(leaves, treedef.flatten_up_to(kept), entered, strict=True)
            )
            count = trees.count_nonzero(kept) + trees.count_nonzero(entered)
            return gain / jnp.maximum(hyper.constant_time + jnp.sum(count * of_kernels), 1e-30)

        start = rate([jnp.zeros_like(here) for here in candidates])
        level, _ = jax.lax.while_loop(
            lambda levels: levels[1] > levels[0],
            lambda levels: (levels[1], rate(entering(levels[1]))),
            (start, rate(entering(start))),
        )
        entered = treedef.unflatten(entering(level))
        if hyper.max_density is not None:
            room = int(hyper.max_density * prunable) - masks.count(kept, among)
            inside = jax.tree.map(
                lambda new, value: jnp.where(new, value, -jnp.inf), entered, treedef.unflatten(worth)
            )
            entered = masks.intersect(entered, topk.largest_global(inside, room, among))
        return masks.union(kept, entered)

    return reconfigure


def _train(
    federation: Federation,
    variables: Variables,
    mask: PyTree,
    client: Client,
    t: jax.Array,
    key: jax.Array,
    of_gradient: Callable[[jax.Array], jax.Array],
    steps: tuple[int, int] | None,
) -> tuple[Trained, PyTree]:
    """Local training under the mask, and the sum over its steps of a function of the dense gradients."""
    gradient = make_gradient(federation.loss)

    def summing(variables, batch):
        stats, total = variables.stats
        loss, stats, grads = gradient(variables._replace(stats=stats), batch)
        total = trees.add(total, jax.tree.map(of_gradient, grads))
        return loss, (stats, total), masks.apply(mask, grads)

    # The sum travels with the model's statistics, which local training carries and does not read.
    start = variables._replace(stats=(variables.stats, trees.zeros_like(variables.params)))
    project = functools.partial(masks.apply, mask)
    trained = federation.train(summing, start, client, t, key, project, steps)
    stats, total = trained.variables.stats
    return trained._replace(variables=trained.variables._replace(stats=stats)), total


class _Stage(NamedTuple):
    """Where the first stage stands; `began` is the first round that pruned or 0, `living` the entries after it."""

    r: jax.Array
    began: jax.Array
    calm: jax.Array
    living: jax.Array
    variables: Variables
    mask: PyTree
    squared: PyTree
    loss: jax.Array
    examples: jax.Array


def _pruning_round(federation: Federation, hyper: PruneFL, reconfigure: Callable, among: PyTree) -> Callable:
    """(client, key, `_Stage`) -> `_Stage` after another round, at whose end the mask may be reconfigured."""
    accuracy = make_own_accuracy(federation, "prunefl")
    part = jnp.asarray(in_parts(np.asarray(hyper.drop_fraction)))

    def reconfigured(stage):
        mask = reconfigure(stage.variables.params, stage.mask, stage.squared, part)
        params, living = masks.apply(mask, stage.variables.params), masks.count(mask, among)
        moved = jnp.abs(living / jnp.maximum(stage.living, 1) - 1)
        calm = jnp.where((stage.living > 0) & (moved <= WITHIN), stage.calm + 1, 0)
        return stage._replace(
            calm=calm,
            living=living,
            variables=stage.variables._replace(params=params),
            mask=mask,
            squared=trees.zeros_like(stage.squared),
        )

    def one_round(client, key, stage):
        r = stage.r + 1
        train_key, test_key = jax.random.split(jax.random.fold_in(key, r))
        reached = jax.lax.cond(
            stage.began == 0,
            lambda: accuracy(stage.variables, client, test_key) >= hyper.first_accuracy,
            lambda: jnp.asarray(False),
        )
        began = jnp.where(reached, r, stage.began)
        steps = (0, hyper.first_steps)
        trained, squared = _train(
            federation, stage.variables, stage.mask, client, jnp.int32(1), train_key, jnp.square, steps
        )
        stage = stage._replace(
            r=r,
            began=began,
            variables=trained.variables,
            squared=trees.add(stage.squared, squared),
            loss=stage.loss + (trained.loss - stage.loss) / r,
            examples=stage.examples + trained.examples,
        )
        due = (began > 0) & ((r - began) % hyper.adjust_every == 0)
        return jax.lax.cond(due, reconfigured, lambda stage: stage, stage)

    return one_round


def _first_stage(
    federation: Federation, hyper: PruneFL, reconfigure: Callable, among: PyTree
) -> Callable[..., tuple[State, Metrics]]:
    """The preparation of a run: a random client finds model and mask."""
    one_round = _pruning_round(federation, hyper, reconfigure, among)
    prunable = sum(masks.prunable_sizes(federation.params, among))
    whole = trees.size(federation.params) + federation.stats_size
    dense = jnp.asarray(trees.sizes(federation.params), jnp.int32)

    def work(variables, client_state, client, key):
        zero, params = jnp.int32(0), variables.params
        squared = trees.zeros_like(params)
        start = _Stage(zero, zero, zero, zero, variables, masks.ones(params), squared, jnp.zeros(()), zero)
        end = jax.lax.while_loop(
            lambda stage: (stage.r < hyper.first_rounds) & (stage.calm < CALM),
            functools.partial(one_round, client, key),
            start,
        )
        trained = Trained(end.variables, end.loss, end.examples, end.r * hyper.first_steps)
        mask = jax.tree.map(lambda keep: keep.astype(jnp.int32), end.mask)
        return (end.variables, mask), client_state, Report(trained.loss, training_work(trained, dense))

    def prepare(state, cohort, key):
        choice_key, work_key = jax.random.split(key)
        chosen = jax.random.randint(choice_key, (), 0, cohort.id.shape[0])
        (variables, mask), _, report = federation.over_clients(
            work, state.server.variables, (), those_at(cohort, chosen[None]), work_key
        )
        report = of_cohort(report, chosen[None], cohort)
        mask = jax.tree.map(lambda count: count > 0, mask)
        asked = jnp.arange(cohort.id.shape[0]) == chosen
        living = masks.count(mask, among)
        message = functools.partial(sparse_message, whole, sent=asked, universe=prunable)
        up = message(whole - prunable + living, located=jnp.where(living < prunable, living, 0))
        down = message(whole, located=0)
        server = state.server._replace(variables=variables, mask=mask)
        return State(server, state.client), Metrics(up, down, report.work, report.loss, {})

    return prepare
