"""FLARE's rivals: error correction, EF21, FedProx with error correction, and FFL."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import make_gradient
from fedjax_sparse.clients.proximal import proximal_training
from fedjax_sparse.config.cards.error_feedback import EF21, FFL, ErrorFeedback, FedProxErrorCorrection
from fedjax_sparse.rounds.error_feedback import (
    RULES,
    Heard,
    decaying,
    error_feedback,
    plain_training,
    remembering,
    top_k,
    zeros,
)
from fedjax_sparse.types import Algorithm, Client, Declared, Federation, Variables

MOST_GROWTH = 1e4  # a loss this many times the first has diverged; without a bound its rounds would not end


def error_correction(federation: Federation, hyper: ErrorFeedback) -> Algorithm:
    """Top-K of the update with error correction, also "EF + TopK" or sparsified SGD with memory.

    Round t, for each client i of the cohort, with residual A_i (like the parameters, zeros at first):

        w = local SGD from W;  U = w - W + A_i;  S_i = TopK(U);  A_i = U - S_i
        W = W + mean_i S_i

    TopK keeps max(1, round(size R / 100)) entries of each tensor, R being `keep_percent`. Clients that are absent
    keep their residuals. The mean is uniform by default (`weighting`). `count_rule = "plus-one"` is the rule of FLARE's
    official code, see `fedjax_sparse.algorithms.flare`.

    References:
        Stich et al., Sparsified SGD with Memory (arXiv 1809.07599);
        as a baseline: Greidi and Cohen (arXiv 2312.13795).
    """
    select, declared = top_k(federation, hyper)
    return error_feedback(federation, plain_training(federation), remembering(select), declared=declared)


def fedprox_error_correction(federation: Federation, hyper: FedProxErrorCorrection) -> Algorithm:
    """Error correction around FedProx: local SGD on loss(w) + mu_t/2 ||w - W||^2 with mu_t = mu / c^t.

    `hyper.decay` is c; 1, the default, is FedProx's constant mu. With one local step a round this is error correction.

    Departures: FLARE's official code has tau_t ||w - W||^2, without the half and with FLARE's decaying tau_t; that is
    mu = 2 tau and the c of FLARE.

    References:
        Li et al., Federated Optimization in Heterogeneous Networks (arXiv 1812.06127);
        as a baseline: Greidi and Cohen (arXiv 2312.13795).
    """
    train = proximal_training(federation.train, decaying(hyper.mu, hyper.decay, federation.rounds))
    return error_correction(federation._replace(train=train), hyper)


def ef21(federation: Federation, hyper: EF21) -> Algorithm:
    """EF21 around local SGD: each client sends the largest part of the change since what the server knows of it.

    Round t, for each client i of the cohort, with state s_i (like the parameters, zeros at first):

        D   = w_i - W, with w_i = local SGD from W
        C_i = TopK(D - s_i);  s_i = s_i + C_i           C_i travels
        g   = g + 1/N sum_i C_i                         the mean of all N clients' s_i
        W   = W + g

    The server keeps g, so that absent clients stay in it with the state that they left behind. TopK as in
    `error_correction`. With weights that are not uniform, g adds the share of the population that came times the
    weighted mean of the C_i.

    Departures: with absent clients FLARE's official code steps along the mean of s_i over those present alone;
    `state_mean = "cohort"`. With full participation the two are one.

    References:
        Richtarik et al., EF21: A New, Simpler, Theoretically Better, and Practically Faster Error Feedback
        (arXiv 2106.05203); partial participation as in Fatkhullin et al. (arXiv 2110.03294).
    """
    over_cohort = hyper.state_mean == "cohort"
    select, declared = top_k(federation, hyper)

    def exchange(turn, update, known):
        change, mask = select(turn, trees.sub(update, known))
        known = trees.add(known, change)
        return known if over_cohort else change, known, jnp.sum(trees.count_nonzero(mask))

    def conclude(server, heard: Heard):
        mean_known = heard.mean if over_cohort else trees.add_scaled(server.notes, heard.share, heard.mean)
        return mean_known, mean_known

    return error_feedback(
        federation,
        plain_training(federation),
        exchange,
        declared=declared,
        first_notes=zeros,
        conclude=conclude,
    )


class Losses(NamedTuple):
    """L0 and L, f[]: mean losses in the first and in the last round; 0 before there was one."""

    first: jax.Array
    last: jax.Array


def ffl(federation: Federation, hyper: FFL) -> Algorithm:
    """Fast federated learning: error correction that sends more and trains less as the loss falls.

    Round t, with L the cohort's mean training loss in the round before and L0 that of the first round:

        R_t = R (L0 / L)^(1/3)                           percent of each tensor that is sent
        E_t = max(1, round(E (L / L0)^(1/3)))            local epochs, or local steps where these are set

    and otherwise `error_correction`. R is `keep_percent`; E comes from the run. In rounds 1 and 2, R_t = R.

    Departures: FLARE's official code takes the model's current test loss for L, which no server has, and that of the
    initial model for L0 (`loss` "test"). L / L0 counts as at most 1e4, where a run has diverged.

    References:
        Nori et al., Fast Federated Learning by Balancing Communication Trade-Offs (arXiv 2105.11028), with the rules
        of FLARE's official code (arXiv 2312.13795).
    """
    gradient = make_gradient(federation.loss)
    everything = jax.tree.map(lambda leaf: True, federation.params)
    sizes = np.asarray(trees.sizes(federation.params), np.int32)
    fewest, more = {"exact": (1, 0), "plus-one": (0, 1)}[hyper.count_rule]
    _, keep = RULES[hyper.count_rule]

    def growth(losses: Losses) -> jax.Array:
        """(L / L0)^(1/3)."""
        ratio = losses.last / jnp.where(losses.first > 0, losses.first, 1)
        # Not `minimum`: the comparison is false for NaN, which must not get through.
        ratio = jnp.where(ratio < MOST_GROWTH, ratio, MOST_GROWTH)
        return jnp.where(losses.first > 0, jnp.cbrt(ratio), 1)

    def local_steps(client: Client, factor: jax.Array) -> jax.Array:
        plan = federation.plan
        planned, unit = (
            (plan.epochs, plan.steps_per_pass(client.count)) if plan.steps is None else (plan.steps, 1)
        )
        scaled = jnp.maximum(1, jnp.round(planned * factor)).astype(jnp.int32)
        return jnp.where(client.count > 0, scaled * unit, 0)

    def train(server, residual, client, t, key):
        del residual
        steps = (0, local_steps(client, growth(server.notes)))
        return federation.train(gradient, server.variables, client, t, key, steps=steps)

    def select(turn, tree):
        percent = jnp.minimum(hyper.keep_percent / growth(turn.server.notes), 100)
        wanted = jnp.round(sizes * (percent / 100)).astype(jnp.int32) + more
        return keep(tree, jnp.clip(wanted, fewest, sizes), everything)

    on_test = hyper.loss == "test"

    def conclude(server, heard: Heard):
        losses = server.notes
        if on_test:
            return losses, heard.mean
        return Losses(jnp.where(losses.first > 0, losses.first, heard.loss), heard.loss), heard.mean

    def observe(losses: Losses, variables: Variables):
        return losses._replace(last=federation.test_loss(variables)) if on_test else losses

    def first_notes(variables):
        first = federation.test_loss(variables) if on_test else jnp.zeros((), jnp.result_type(float))
        return Losses(first, first)

    return error_feedback(
        federation,
        train,
        remembering(select),
        declared=(Declared("upload", "measured", None, everything),),
        first_notes=first_notes,
        conclude=conclude,
        observe=observe,
    )
