"""FedSpa: a dense server, of whose model each client trains its own sparse part under a mask that moves."""

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.config.cards.fedspa import FedSpa
from fedjax_sparse.costs.counts import Report, sparse_message, training_work
from fedjax_sparse.rounds.client_masks import moving_masks
from fedjax_sparse.rounds.masked_averaging import masked_gradient
from fedjax_sparse.server import aggregation
from fedjax_sparse.server.optimizer import Server, step_along
from fedjax_sparse.sparsity import masks, regrow
from fedjax_sparse.types import Algorithm, Declared, Federation, Metrics, State


def fedspa(federation: Federation, hyper: FedSpa) -> Algorithm:
    """Clients train m_i * w, send their steps, and exchange entries of their masks m_i at a constant number.

    Round t, for each client i of the cohort S, each of which counts once:

        y   = local SGD from m_i * w, the gradient masked by m_i before it is clipped
        w   = w + sum_i (y - m_i * w) / |S|               (or the server optimiser's step)
        m_i drops the ceil(f_t n_l) entries of least |y| of each tensor l with n_l living ones, and grows as many: the
            largest |gradient| of one batch at y without what was dropped, in evaluation mode

    f_t = `move_fraction` / 2 (1 + cos(pi (t - 1) / T)). Masks keep int(density_l n_l) entries of each tensor, biases
    and norms included, by Erdős-Rényi-kernel, and start at random. With `mean_over` "voters" an entry's mean step is
    over the clients whose mask had it, 0 where there are none.

    State: of the server a dense model and its optimiser, of each client m_i. Deployed is m_i * w; `server_model` is w.

    Costs: living values both ways, under a mask that both sides know; upwards also the mask as bits, where it moved.
    The batch of the gradient is not counted as work.

    Departures: there is no official code. The rounds are reconstructed from the paper's description, the search of
    masks from DisPFL and Lockdown, the latter by the same first author.

    References:
        Huang et al., Achieving Personalized Federated Learning with Sparse Local Models (arXiv 2201.11380).
    """
    gradient, optimizer = make_gradient(federation.loss), federation.server_optimizer
    moving = moving_masks(federation, hyper.sparsity, hyper.move_fraction, hyper.growth)
    size, living = trees.size(federation.params), int(moving.kept.sum())

    def init(variables, key):
        del key
        return Server(variables, optimizer.init(variables.params))

    def init_client(variables, key):
        del variables
        return moving.draw(key)

    def work(shared, mask, client, key):
        server, t = shared
        train_key, grow_key = jax.random.split(key)
        start = masks.model_under(server.variables, mask)
        trained = federation.train(masked_gradient(gradient, mask), start, client, t, train_key)
        numbers = moving.moved[t - 1]
        survivors = regrow.without_smallest(trained.variables.params, mask, numbers, moving.everywhere)
        scores = moving.scores(masks.model_under(trained.variables, survivors), client, grow_key)
        new = regrow.with_largest(survivors, scores, numbers, moving.everywhere)
        step = trained.variables._replace(params=trees.sub(trained.variables.params, start.params))
        report = Report(trained.loss, training_work(trained, trees.count_nonzero(mask)))
        holders = jax.tree.map(lambda held, leaf: held.astype(leaf.dtype), mask, step.params)
        return (step, holders), new, report

    def merged(server, total, holders, present):
        mean = aggregation.weighted_mean(total, present.astype(jnp.float32))
        if hyper.mean_over == "voters":
            mean = mean._replace(params=aggregation.mean_over_holders(total.params, holders))
        return Server(*step_along(optimizer, server.variables, server.opt, mean, jnp.any(present)))

    def round_fn(state, cohort, t, key):
        (total, holders), client_states, report = federation.over_clients(
            work, (state.server, t), state.client, cohort, key
        )
        server = merged(state.server, total, holders, cohort.present)
        whole, values = size + federation.stats_size, living + federation.stats_size
        bits = jnp.where(jnp.any(moving.moved[t - 1] > 0), size, 0)
        up = sparse_message(whole, values, cohort.present, located=0, universe=0, mask_bits=bits)
        down = sparse_message(whole, values, cohort.invited, located=0, universe=0)
        return State(server, client_states), Metrics(up, down, report.work, report.loss, {})

    def model(server, mask):
        return masks.model_under(server.variables, mask)

    declared = (Declared("personal", "bounded", lambda t: living, moving.everywhere),)
    return Algorithm(
        init, init_client, None, round_fn, model, lambda server: server.variables, declared, personal=True
    )
