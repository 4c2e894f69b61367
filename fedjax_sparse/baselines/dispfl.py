"""DisPFL: without a server, clients average with random neighbours and train sparse models of their own."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.config.cards.dispfl import DisPFL
from fedjax_sparse.costs.counts import Report, sparse_message, training_work
from fedjax_sparse.rounds.client_masks import moving_masks
from fedjax_sparse.rounds.part_averaging import part_sum
from fedjax_sparse.server import aggregation
from fedjax_sparse.sparsity import masks, regrow, topk
from fedjax_sparse.types import Algorithm, Cohort, Declared, Federation, Metrics, PyTree, State, Variables


class Peer(NamedTuple):
    """What one client keeps, and tells who hears it.

    Attributes:
        variables: Its model, zero outside `shared`.
        shared: The mask under which that was trained.
        mask: Its next one.
    """

    variables: Variables
    shared: PyTree
    mask: PyTree


def dispfl(federation: Federation, hyper: DisPFL) -> Algorithm:
    """Each client hears `neighbours` others, trains under its own mask m_i and moves that mask.

    Round t, for each client i of the cohort, with H_i the neighbours that it draws and itself, and s_j the masks under
    which they trained:

        w   = m_i * (sum_j in H_i w_j) / (sum_j in H_i s_j),  0 where no one holds the entry
        w_i = local SGD from w, with w_i = m_i * w_i after each step;  s_i = m_i
        m_i drops the ceil(f_t n_l) entries of least |w_i| of each tensor l with n_l living ones, and grows as many:
            at random or, with `growth` "gradient", the largest |gradient| of one batch at w_i before anything drops

    f_t = `move_fraction` / 2 (1 + cos(pi (t - 1) / T)). What was just dropped may grow again. Masks keep
    int(density_l n_l) entries of each tensor, biases and norms included, by Erdős-Rényi-kernel; each client's first
    one is random, its first model the common initial weights under it.

    State: of each client its model, s_i and m_i (as bits); the server has none. Deployed is w_i, after training.

    Costs: of every neighbour heard the living values, its mask as bits, and its statistics, counted down for who hears
    and up for who is heard. The batch of the gradient is not counted as work.

    Departures: neighbours are drawn among those of the cohort that are present, fewer where there are not so many; a
    client that is absent stands still, where the official code lets it train by itself. The order of sums differs.

    References:
        Dai et al., DisPFL: Towards Communication-Efficient Personalized Federated Learning via Decentralized Sparse
        Training (arXiv 2206.00187).
    """
    gradient = make_gradient(federation.loss)
    moving = moving_masks(federation, hyper.sparsity, hyper.move_fraction, hyper.growth)
    whole = trees.size(federation.params) + federation.stats_size
    living = int(moving.kept.sum())

    def init(variables, key):
        del variables, key
        return ()

    def init_client(variables, key):
        mask = moving.draw(key)
        return Peer(masks.model_under(variables, mask), mask, mask)

    def work(shared, peer_and_heard, client, key):
        (peers, t), (peer, places) = shared, peer_and_heard
        train_key, grow_key = jax.random.split(key)
        start = masks.model_under(mean_of_heard(peers, places), peer.mask)
        trained = federation.train(
            gradient, start, client, t, train_key, lambda params: masks.apply(peer.mask, params)
        )
        scores = moving.scores(trained.variables, client, grow_key)
        _, mask, grown = regrow.prune_and_regrow(
            trained.variables.params, peer.mask, scores, moving.moved[t - 1], moving.everywhere
        )
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(peer.mask)))
        ranking = regrow.ranking(scores, mask, grown, moving.everywhere)
        return (), (Peer(trained.variables, peer.mask, mask), places), (report, ranking)

    def round_fn(state, cohort, t, key):
        draw_key, work_key = jax.random.split(key)
        heard = hearing(cohort, draw_key, hyper.neighbours, federation.population)
        places = jax.vmap(functools.partial(_places, hyper.neighbours))(heard)
        _, (peers, _), (report, ranking) = federation.over_clients(
            work, (state.client, t), (state.client, places), cohort, work_key
        )

        def message(numbers, size, where):
            values = numbers * (living + federation.stats_size)
            bits = numbers * trees.size(federation.params)
            return sparse_message(size, values, where, located=0, universe=0, mask_bits=bits)

        others = heard & ~jnp.eye(heard.shape[0], dtype=bool)
        hears, listeners = (jnp.sum(others, axis=axis, dtype=jnp.int32) for axis in (1, 0))
        most = min(hyper.neighbours, federation.population - 1)
        up = message(listeners, listeners * whole, cohort.present)
        down = message(hears, max(most, 1) * whole, cohort.invited)
        return State((), peers), Metrics(up, down, report.work, report.loss, {}, ranking)

    def model(server, peer):
        del server
        return peer.variables

    declared = (Declared("personal", "bounded", lambda t: living, moving.everywhere),)
    return Algorithm(init, init_client, None, round_fn, model, None, declared, personal=True)


def hearing(cohort: Cohort, key: jax.Array, neighbours: int, population: int) -> jax.Array:
    """bool[C, C]: whether the client of a row hears that of a column; each one hears itself.

    The others are drawn without replacement from those present, by ids, whatever the places; an empty place hears none.
    """

    def noise(listener):
        return jax.random.uniform(jax.random.fold_in(key, listener), (population + 1,))[cohort.id]

    others = cohort.present[None, :] & ~jnp.eye(cohort.id.shape[0], dtype=bool) & cohort.invited[:, None]
    drawn = jax.vmap(lambda scores, where: topk.largest(scores, neighbours, where))
    return drawn(jax.vmap(noise)(cohort.id), others) | jnp.eye(cohort.id.shape[0], dtype=bool)


def _places(neighbours: int, heard: jax.Array) -> jax.Array:
    """i32[n]: the places of one client's neighbours and its own, from bool[C]; C beyond them."""
    clients = heard.shape[0]
    (places,) = jnp.nonzero(heard, size=min(neighbours, clients - 1) + 1, fill_value=clients)
    return places.astype(jnp.int32)


def mean_of_heard(peers: Peer, places: jax.Array) -> Variables:
    """Entry by entry the mean over those heard who hold the entry, 0 where nobody does.

    They are added one after the other, so that no array is larger than a model.

    Args:
        peers: Of the cohort, with a leading axis C.
        places: i32[n], in the cohort, of those heard; C where they are fewer.
    """
    clients = jax.tree.leaves(peers)[0].shape[0]

    def part(j):
        peer = jax.tree.map(lambda leaf: leaf[places[j]], peers)
        return part_sum(peer.variables, peer.shared)

    def add(j, total):
        heard = part(j)
        return trees.add(total, trees.where(places[j] < clients, heard, trees.zeros_like(heard)))

    total = jax.lax.fori_loop(0, places.size, add, trees.zeros_like(part(0)))
    params, stats = total.variables
    voices = jnp.sum(places < clients)
    return Variables(
        aggregation.mean_over_holders(params, total.holders), jax.tree.map(lambda leaf: leaf / voices, stats)
    )
