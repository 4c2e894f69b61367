"""Local training without communication against its slow twin."""

import jax
import numpy as np

from fedjax_sparse.costs import prices
from tests.baselines import local_training_twin as twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import close, quadratic

SIZES, STEPS = (1, 4, 5, 7), (1, 2, 2, 3)
D = 8
X = np.linspace(-1, 1, D)


def start():
    setting = bench.federation(
        quadratic(15, 4, D)[1], SIZES, bench.TWO_LEAVES, batch_size=3, lr_schedule="decay:0.9"
    )
    return bench.start("local-training", setting, X)


def test_three_rounds_agree_with_the_twin_and_nothing_is_sent():
    _, noisy = quadratic(15, 4, D)
    for t, (state, metrics) in enumerate(start().after([range(4)] * 3), start=1):
        models = twin.alone(X, noisy, steps=STEPS, lr=lambda round: 0.1 * 0.9**round, rounds=t)
        close(bench.rows(state.client.params), models)
        close(bench.flat(state.server.params), models.mean(axis=0))
        for message in (metrics.up, metrics.down):
            assert prices.message_bytes(message, "smallest", 4) == 0


def test_a_client_deploys_its_own_model_and_waits_while_it_is_absent():
    made = start()
    state, _ = made.step(made.state, [0, 3], 1)
    close(bench.rows(state.client.params)[[1, 2]], np.stack([X, X]))
    close(bench.flat(state.server.params), bench.rows(state.client.params).mean(axis=0))
    own = jax.tree.map(lambda leaf: leaf[3], state.client)
    close(bench.flat(made.algorithm.model(state.server, own).params), bench.rows(state.client.params)[3])
