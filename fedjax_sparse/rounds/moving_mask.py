"""Federated averaging under one mask that moves: every so many rounds some entries die and others take their place.

RigL, SET, FedDST and FLASH move it at the clients, FedTiny, FedRTS and PruneFL at the server; each passes in its own
work at a client and its own merging. What they share is here: where a run starts, who knows which mask, what is sent
down, and local training in which a mask moves.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import in_sequence, make_gradient, step_batch
from fedjax_sparse.config.cards.rigl import MovingMask
from fedjax_sparse.costs.counts import sparse_message
from fedjax_sparse.rounds.masked_averaging import masked_gradient, under
from fedjax_sparse.server.optimizer import mask_moments
from fedjax_sparse.sparsity import allocation, masks, saliency, schedules, topk
from fedjax_sparse.types import (
    Algorithm,
    Batch,
    Client,
    Declared,
    Federation,
    Message,
    Metrics,
    PyTree,
    State,
    Trained,
    Variables,
)


class Server(NamedTuple):
    """What the server keeps.

    Attributes:
        variables: The model; what lives of it is what clients get.
        opt: The server optimiser's state.
        mask: Which parameters live.
        moves: i32[], how often the mask has moved.
        memory: What the rule remembers from round to round.
    """

    variables: Variables
    opt: PyTree
    mask: PyTree
    moves: jax.Array
    memory: PyTree


class Kept(NamedTuple):
    """What a client keeps.

    Attributes:
        known: i32[], the server's `moves` when the client last got its mask; -1 before.
        own: What the rule has clients remember.
    """

    known: jax.Array
    own: PyTree


class Rule(NamedTuple):
    """What distinguishes an algorithm.

    Attributes:
        first_mask: (initial parameters, key) -> the mask of round 1.
        work: (server, own, client, t, key) -> (sent, own, (`Report`, the upload as counts of one client)).
        merge: (server, sum of what was sent, cohort, t, key) -> server; when nobody came, the same one.
        memory: Initial parameters -> what the server remembers.
        own: Initial parameters -> what a client remembers.
    """

    first_mask: Callable[[PyTree, jax.Array], PyTree]
    work: Callable
    merge: Callable
    memory: Callable[[PyTree], PyTree] = lambda params: ()
    own: Callable[[PyTree], PyTree] = lambda params: ()


def averaging_under_a_moving_mask(
    federation: Federation,
    rule: Rule,
    among: PyTree,
    declared: tuple[Declared, ...],
    prepare: Callable | None = None,
) -> Algorithm:
    """Builds the algorithm; deployed is what lives of the server's model.

    A client gets the living values, and their positions only if the mask has moved since it last took part.

    Args:
        federation: What the algorithm is built from.
        rule: What distinguishes it.
        among: Python bool for each leaf: where pruning is allowed.
        declared: What is promised to be sparse.
        prepare: As in `Algorithm`.
    """
    prunable = sum(masks.prunable_sizes(federation.params, among))
    whole = trees.size(federation.params) + federation.stats_size

    def init(variables, key):
        mask = rule.first_mask(variables.params, key)
        opt = federation.server_optimizer.init(variables.params)
        server = Server(variables, opt, mask, jnp.int32(0), rule.memory(variables.params))
        return under(federation, server, mask)

    def init_client(variables, key):
        del key
        return Kept(jnp.int32(-1), rule.own(variables.params))

    def work(shared, own, client, key):
        server, t = shared
        return rule.work(server, own, client, t, key)

    def round_fn(state, cohort, t, key):
        server, kept = state.server, state.client
        merge_key, work_key = jax.random.split(key)
        sent, own, (report, up) = federation.over_clients(work, (server, t), kept.own, cohort, work_key)
        new = rule.merge(server, sent, cohort, t, merge_key)
        new = new._replace(moves=server.moves + _differ(server.mask, new.mask))
        living = masks.count(server.mask, among)
        unknown = (kept.known != server.moves) & (living < prunable)
        down = sparse_message(
            whole,
            whole - prunable + living,
            cohort.invited,
            located=jnp.where(unknown, living, 0),
            universe=prunable,
        )
        kept = Kept(jnp.where(cohort.present, server.moves, kept.known), own)
        return State(new, kept), Metrics(up, down, report.work, report.loss, {})

    def model(server, client_state):
        del client_state
        return living_part(server)

    return Algorithm(init, init_client, prepare, round_fn, model, None, declared)


def living_part(server: Server) -> Variables:
    """The server's model, zero outside its mask."""
    return masks.model_under(server.variables, server.mask)


def upload(
    federation: Federation,
    mask: PyTree,
    among: PyTree,
    *,
    unknown: jax.Array,
    more: jax.Array | int = 0,
    located: jax.Array | int = 0,
) -> Message:
    """One client's message, as counts: what lives, with positions where the server cannot know the mask.

    Args:
        federation: What the algorithm is built from.
        mask: The client's.
        among: Python bool for each leaf.
        unknown: bool[], whether the mask is the client's own.
        more: i32[], further values that travel with the model, such as gradients.
        located: i32[], how many positions those need.
    """
    prunable = sum(masks.prunable_sizes(federation.params, among))
    whole = trees.size(federation.params) + federation.stats_size
    living = masks.count(mask, among)
    located = located + jnp.where(unknown & (living < prunable), living, 0)
    return sparse_message(
        whole + more,
        whole - prunable + living + more,
        jnp.asarray(True),
        located=located,
        universe=prunable,
    )


class ClientMove(NamedTuple):
    """How a client moves its mask within a round.

    Attributes:
        due: t -> bool[], whether it does.
        when: At the start or the end of local training, or after so many of its steps: client -> i32[].
        move: (variables, mask, batch, client, t, key) -> (which entries keep their values, the mask after); all others
            start at zero.
        looks: Passes over that batch, for the account of work.
    """

    due: Callable[[jax.Array], jax.Array]
    when: Literal["start", "end"] | Callable[[Client], jax.Array]
    move: Callable[[Variables, PyTree, Batch, Client, jax.Array, jax.Array], tuple[PyTree, PyTree]]
    looks: int = 0


def train_and_move(federation: Federation, rule: ClientMove) -> Callable[..., tuple[Trained, PyTree]]:
    """Builds (variables, mask, client, t, key) -> (trained, mask): local training in which the mask moves.

    The batch that a move may look at is that of the coming step, or after the last step its own. What leaves the mask
    or is new in it has no momentum.
    """
    gradient, plan = make_gradient(federation.loss), federation.plan
    optimizer = federation.client_optimizer(0.0)

    def stretch(variables, mask, client, t, key, first, end, moments):
        masked, project = masked_gradient(gradient, mask), functools.partial(masks.apply, mask)
        return federation.train(masked, variables, client, t, key, project, (first, end), moments)

    def moved(trained, mask, client, t, keys, at):
        train_key, move_key = keys
        last = jnp.maximum(plan.total_steps(client.count) - 1, 0)
        batch = step_batch(client, plan, jnp.minimum(at, last), train_key)
        stays, new = rule.move(trained.variables, mask, batch, client, t, move_key)
        params = masks.apply(stays, trained.variables.params)
        looked = rule.looks * jnp.sum(batch.mask, dtype=jnp.int32)
        moments = mask_moments(optimizer, trained.moments, stays)
        variables = trained.variables._replace(params=params)
        return trained._replace(variables=variables, moments=moments), new, looked

    def train(variables, mask, client, t, key):
        keys = jax.random.split(key)
        total = plan.total_steps(client.count)
        at = {"start": 0, "end": total}[rule.when] if isinstance(rule.when, str) else rule.when(client)
        trained = _nothing_done(variables, optimizer.init(variables.params))
        if rule.when != "start":
            trained = stretch(variables, mask, client, t, keys[0], 0, at, None)
        trained, mask, looked = jax.lax.cond(
            rule.due(t),
            lambda: moved(trained, mask, client, t, keys, at),
            lambda: (trained, mask, jnp.int32(0)),
        )
        if rule.when != "end":
            rest = stretch(trained.variables, mask, client, t, keys[0], at, total, trained.moments)
            trained = in_sequence(trained, rest)
        return trained._replace(examples=trained.examples + looked), mask

    return train


def plain_training(federation: Federation) -> Callable[..., Trained]:
    """Builds (variables, mask, client, t, key) -> trained: local training under a mask that stays."""
    gradient = make_gradient(federation.loss)

    def train(variables, mask, client, t, key):
        project = functools.partial(masks.apply, mask)
        return federation.train(masked_gradient(gradient, mask), variables, client, t, key, project)

    return train


def last_gradient(federation: Federation) -> Callable[..., tuple[PyTree, jax.Array]]:
    """Builds (variables, client, key, asked) -> (gradient, i32[], examples that it took): zeros unless asked.

    The gradient is that of the last batch of a training that had the same key, at the model after it.
    """
    gradient, plan = make_gradient(federation.loss), federation.plan

    def of_batch(variables, client, key):
        last = jnp.maximum(plan.total_steps(client.count) - 1, 0)
        batch = step_batch(client, plan, last, key)
        return gradient(variables, batch)[2], jnp.sum(batch.mask, dtype=jnp.int32)

    def last(variables, client, key, asked):
        nothing = trees.zeros_like(variables.params), jnp.int32(0)
        return jax.lax.cond(asked, lambda: of_batch(variables, client, key), lambda: nothing)

    return last


def layer_counts(federation: Federation, hyper: MovingMask, among: PyTree) -> tuple[np.ndarray, int]:
    """How many entries each leaf keeps, i32[L], all where it may not be pruned; and the sum over those that may."""
    rule = functools.partial(allocation.by_layer, kind=hyper.allocation, rule=schedules.floor_kept)
    counts = masks.allocate(rule, federation.params, hyper.sparsity, among)
    return counts, int(counts[np.array(jax.tree.leaves(among))].sum())


def random_mask(params: PyTree, key: jax.Array, counts: topk.Counts, among: PyTree) -> PyTree:
    """So many entries of each chosen leaf."""
    return topk.largest_per_leaf(saliency.random(key, params), counts, among)


def replaced(federation: Federation, hyper: MovingMask, counts: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """By round: how many living entries of each leaf give way, i32[T + 1, L], and whether the mask moves, bool[T + 1].

    The share is rounded down, and no more than what is not living.
    """
    t = np.arange(federation.rounds + 1)
    share = schedules.cosine_drop_fraction(t, initial=hyper.drop_fraction, end=last_move(federation, hyper))
    share = np.where((t % hyper.adjust_every == 0) & (t > 0), share, 0.0)
    dead = np.array(trees.sizes(federation.params)) - counts
    drops = np.minimum(np.floor(share[:, None] * counts), dead)
    return jnp.asarray(drops, jnp.int32), jnp.asarray(share > 0)


def last_move(federation: Federation, hyper: MovingMask) -> int:
    """The round at which the share that is replaced has fallen to 0."""
    if hyper.adjust_until is not None:
        return hyper.adjust_until
    return max(1, round(0.6 * federation.rounds))


def _nothing_done(variables: Variables, moments: PyTree) -> Trained:
    return Trained(variables, jnp.zeros(()), jnp.int32(0), jnp.int32(0), moments)


def _differ(a: PyTree, b: PyTree) -> jax.Array:
    """i32[]: 1 where two masks differ, else 0."""
    either = [jnp.any(x != y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    return jnp.any(jnp.stack(either)).astype(jnp.int32)
