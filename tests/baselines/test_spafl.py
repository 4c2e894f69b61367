"""SpaFL against its twin, the answers of those who were away, and its counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.baselines.spafl import answers
from tests import toy
from tests.baselines import personal_problem as problems
from tests.baselines import spafl_twin as twin

SCALARS = 5 + 3
WINDOWS = {"always": twin.always, "outside-one": twin.outside_one}


@pytest.mark.parametrize("window", WINDOWS)
def test_three_rounds_agree_with_the_twin(window):
    problem = problems.setting(
        local_epochs=3, clip_norm=2.0, weight_decay=1e-2, client_momentum=0.5, client_lr=0.2
    )
    algorithm = toy.algorithm("spafl", problem, threshold_penalty=0.15, window=window)
    (_, owns, _), *after = problems.rounds_of(algorithm, problem, 3)
    state = twin.initial(
        problems.one_client(owns.variables.params, 0), problems.CLIENTS, problems.PRUNABLE, -1
    )
    live, deployed = [], jax.jit(jax.vmap(algorithm.model, (None, 0)))
    for t, (server, owns, metrics) in enumerate(after, start=1):
        state = twin.spafl_round(
            state,
            problems.cohort(problem, t),
            grad=problems.gradient(problem),
            prunable=problems.PRUNABLE,
            steps=3,
            lr=0.2,
            coef=0.15,
            momentum=0.5,
            decay=1e-2,
            clip=2.0,
            axis=-1,
            window=WINDOWS[window],
        )
        problems.close(row(server.thresholds, t), state["tau"])
        models = deployed(server, owns).params
        for k in range(problems.CLIENTS):
            problems.close(row(owns.thresholds, k), state["taus"][k])
            problems.close(problems.one_client(models, k), twin.personal(state, k, problems.PRUNABLE, -1))
        assert metrics.up.values.tolist() == [SCALARS] * 4
        assert metrics.down.values.sum() == SCALARS * (4 + problems.CLIENTS)
        live.append(metrics.work.forward.sum())
    assert live[0] == 4 * 43 > live[-1] > 4 * 8  # all filters are on at first, then some are off


def row(leaves, i):
    return [leaf[i] for leaf in leaves]


@pytest.mark.parametrize("shape", [(6, 4), (3, 3, 2, 4)])
def test_who_was_away_answers_to_one_change_after_the_other(shape):
    rng = np.random.default_rng(0)
    start = rng.normal(size=shape)
    taus = jnp.concatenate([np.zeros((1, 4)), rng.normal(size=(5, 4)).cumsum(axis=0)])
    late = jax.jit(lambda first, last: answers([start], [taus], first, last, [True])[0])
    expected = [start]
    for t in range(2, 6):
        expected = twin.shifted(expected, [np.asarray(taus[t] - taus[t - 1])], [True], -1)
    np.testing.assert_allclose(late(1, 5), expected[0], rtol=0, atol=1e-12)
    at_once = twin.shifted([start], [np.asarray(taus[5] - taus[1])], [True], -1)
    assert np.abs(expected[0] - at_once[0]).max() > 0.1  # sums change sign on the way
    np.testing.assert_array_equal(late(4, 4), start)
