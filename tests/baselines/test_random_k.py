"""Random-k against the compressors' slow twin, and what follows from its definition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.costs import prices
from fedjax_sparse.rounds.error_feedback import TO_COMPRESS
from fedjax_sparse.sparsity import compression
from tests.baselines import compressors_twin, local_training_twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import close, quadratic

SIZES = (1, 4, 5, 7)
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
D = 8
X = np.linspace(-1, 1, D)


def run(cohorts=COHORTS, **hyper):
    _, noisy = quadratic(8, 4, D)
    setting = bench.federation(noisy, SIZES, bench.TWO_LEAVES, batch_size=3, weighting="examples")
    return bench.start("random-k", setting, X, **hyper).after(cohorts)


def draw(t, client, *, layerwise, common):
    """Where the library's mask of half the entries is True, for each leaf of an update, or flat."""
    ones = {name: jnp.ones(shape) for name, shape in bench.TWO_LEAVES.items()}
    among = dict.fromkeys(ones, True)
    own = jax.random.fold_in(bench.client_key(t, client), TO_COMPRESS)
    key = bench.client_key(t, 4) if common else own
    if layerwise:
        _, mask = compression.random_k_per_leaf(ones, key, [1, 3], among)
    else:
        _, mask = compression.random_k(ones, key, 4, among)
    return bench.flat(mask)


def compressed(t, client, u, *, layerwise, common, scaled):
    mask = draw(t, client, layerwise=layerwise, common=common)
    parts = [slice(0, 2), slice(2, 8)] if layerwise else [slice(0, 8)]
    return np.concatenate(
        [
            compressors_twin.random_k(u[part], np.flatnonzero(mask[part]).tolist(), scaled=scaled)
            for part in parts
        ]
    )


@pytest.mark.parametrize("layerwise", [False, True])
@pytest.mark.parametrize(("unbiased", "common"), [(False, False), (True, False), (False, True)])
def test_three_rounds_agree_with_the_twin(layerwise, unbiased, common):
    _, noisy = quadratic(8, 4, D)
    state = {"x": [X], "e": [[np.zeros(D)] for _ in SIZES]}
    history = run(keep_percent=50.0, layerwise=layerwise, unbiased=unbiased, common_mask=common)
    for t, (cohort, (new, _)) in enumerate(zip(COHORTS, history, strict=True), start=1):
        x = state["x"][0]
        deltas = {k: [local_training_twin.sgd(noisy, k, x, steps=STEPS[k], lr=0.1) - x] for k in cohort}
        compress = functools.partial(compressed, t, layerwise=layerwise, common=common, scaled=unbiased)
        state, _ = compressors_twin.run_round(
            state, cohort, deltas, compressors_twin.per_tensor(compress), counts=SIZES, feedback=not unbiased
        )
        close(bench.flat(new.server.variables.params), state["x"][0])
        if not unbiased:
            close(bench.rows(new.client), np.stack([e[0] for e in state["e"]]))


@pytest.mark.parametrize(("unbiased", "factor", "error"), [(True, 1.0, 60.5), (False, 1 / 3, 20.1666667)])
def test_mean_and_error_are_those_of_the_definition(unbiased, factor, error):
    """2 of 6 entries: the golden variance, within four standard errors of 20,000 draws."""
    u = {"u": jnp.asarray([3, -1, 2, 0.5, -4, 0])}
    drawn = jax.vmap(lambda key: compression.random_k(u, key, 2, {"u": True})[0]["u"])
    sent = np.asarray(drawn(jax.random.split(jax.random.key(1), 20_000))) * (3 if unbiased else 1)
    assert (np.count_nonzero(sent, axis=1) <= 2).all()
    squares = ((sent - np.asarray(u["u"])) ** 2).sum(axis=1)
    assert abs(squares.mean() - error) < 4 * squares.std() / np.sqrt(len(squares))
    within = 4 * sent.std(axis=0) / np.sqrt(len(sent)) + 1e-12
    assert (np.abs(sent.mean(axis=0) - factor * np.asarray(u["u"])) < within).all()


@pytest.mark.parametrize("unbiased", [False, True])
def test_everything_drawn_is_federated_averaging(unbiased):
    _, noisy = quadratic(8, 4, D)
    ((state, _),) = run(COHORTS[:1], keep_percent=100.0, unbiased=unbiased)
    expected = local_training_twin.fedavg_round(X, COHORTS[0], noisy, steps=STEPS, lr=0.1, counts=SIZES)
    close(bench.flat(state.server.variables.params), expected)


def test_a_common_mask_makes_the_servers_step_sparse():
    ((state, _),) = run(COHORTS[:1], keep_percent=25.0, common_mask=True)
    assert np.count_nonzero(bench.flat(state.server.variables.params) - X) == 2
    ((state, _),) = run(COHORTS[:1], keep_percent=25.0)
    assert np.count_nonzero(bench.flat(state.server.variables.params) - X) > 2


@pytest.mark.parametrize(("positions", "beside"), [("seed", 8), ("derived", 0), ("indices", 2 * 4)])
def test_what_positions_cost(positions, beside):
    ((_, metrics),) = run(COHORTS[:1], keep_percent=25.0, positions=positions)
    assert prices.message_bytes(metrics.up, "values+indices", 4) == 3 * (2 * 4 + beside)
    if positions != "indices":
        assert beside + 2 * 4 == compressors_twin.random_k_bytes(D, 2, derived_seed=positions == "derived")
