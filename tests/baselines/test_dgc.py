"""Deep Gradient Compression against its slow twin, its golden values, and its relatives."""

import numpy as np
import pytest

from fedjax_sparse.baselines import dgc
from fedjax_sparse.config.cards.dgc import DGC
from fedjax_sparse.costs import prices
from tests.baselines import dgc_twin, local_training_twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import close, quadratic

SIZES = (1, 4, 5, 7)
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
D = 8
X = np.linspace(-1, 1, D)


def start(grad=None, sizes=SIZES, shapes=bench.TWO_LEAVES, x=X, run=None, **hyper):
    grad = grad or quadratic(11, 4, D)[1]
    setting = bench.federation(grad, sizes, shapes, **({"batch_size": 3} | (run or {})))
    return bench.start("dgc", setting, x, **hyper)


def tensors(x):
    return [x[:2], x[2:].reshape(3, 2)]


@pytest.mark.parametrize(
    "hyper",
    [
        {"ratio": 0.4, "momentum": 0.9},
        {"ratio": 0.4, "momentum": 0.7, "masking": False, "nesterov": True, "server_weight_decay": 0.1},
        {"ratio": 0.2, "momentum": 0.5, "server_weight_decay": 0.1, "warm_up": 2},
        {"ratio": 1.0, "momentum": 0.9, "nesterov": True},
    ],
)
def test_three_rounds_agree_with_the_twin(hyper):
    _, noisy = quadratic(11, 4, D)
    options = {"masking": True, "nesterov": False} | hyper
    ratio, warm_up = options.pop("ratio"), options.pop("warm_up", 0)
    options["weight_decay"] = options.pop("server_weight_decay", 0.0)
    state = dgc_twin.init(tensors(X), 4)
    for t, (cohort, (new, _)) in enumerate(zip(COHORTS, start(**hyper).after(COHORTS), strict=True)):
        x = np.concatenate([leaf.ravel() for leaf in state["x"]])
        deltas = {
            k: tensors(local_training_twin.sgd(noisy, k, x, steps=STEPS[k], lr=0.1) - x) for k in cohort
        }
        now = dgc_twin.warm_up_ratio(ratio, t, warm_up)
        state, _ = dgc_twin.run_round(state, cohort, deltas, ratio=now, **options)
        close(bench.flat(new.server.variables.params), np.concatenate([leaf.ravel() for leaf in state["x"]]))
        if ratio < 1:
            close(-bench.rows(new.client.momentum), np.stack([u[1] for u in state["u"]]))
            close(-bench.rows(new.client.owed), np.stack([v[1] for v in state["v"]]))


@pytest.mark.parametrize(
    ("masking", "sent", "u", "v"),
    [
        (
            True,
            [(0, 1), (2, -1.35), (1, 1.782)],
            (0.29, 0, -0.1, 0.561, 0.095),
            (0.39, 0, -0.1, 0.951, 0.145),
        ),
        (
            False,
            [(0, 1), (2, -1.35), (0, 2.1)],
            (1.1, 0.802, -0.865, 0.561, 0.095),
            (0, 1.782, -0.865, 0.951, 0.145),
        ),
    ],
)
def test_golden_values(masking, sent, u, v):
    """One client and one tensor of five entries, whose step in round t is given."""
    steps = [(1, 0.2, -0.5, 0.1, 0), (0.1, 0.6, -0.4, 0.2, 0.05), (0.2, 0.1, -0.1, 0.3, 0.05)]
    state = None
    for t, (step, (place, value)) in enumerate(zip(steps, sent, strict=True), start=1):
        grad = lambda k, x, j, step=step: -10 * np.asarray(step)  # noqa: E731
        made = start(grad, (1,), {"w": (5, 1)}, np.zeros(5), ratio=0.2, masking=masking)
        state = made.state if state is None else made.state._replace(client=state.client)
        state, _ = made.step(state, [0], t)
        expected = np.zeros(5)
        expected[place] = value
        close(bench.flat(state.server.variables.params), expected)
    assert state is not None
    close(bench.flat(state.client.momentum), u)
    close(bench.flat(state.client.owed), v)


def test_without_momentum_kernels_are_error_correction():
    one = {"kernel": (3, 2)}
    _, noisy = quadratic(12, 4, 6)
    setting = bench.federation(noisy, SIZES, one, batch_size=3)
    ours = bench.start("dgc", setting, X[:6], ratio=0.5, momentum=0.0).after(COHORTS)
    theirs = bench.start("error-correction", setting, X[:6], keep_percent=50.0).after(COHORTS)
    for (a, _), (b, _) in zip(ours, theirs, strict=True):
        close(bench.flat(a.server.variables.params), bench.flat(b.server.variables.params))
        close(bench.rows(a.client.owed), bench.rows(b.client))


def test_a_ratio_of_one_is_momentum_at_the_server():
    whole = start(ratio=1.0, momentum=0.9).after(COHORTS)
    run = {"batch_size": 3, "server_opt": "momentum", "server_momentum": 0.9}
    setting = bench.federation(quadratic(11, 4, D)[1], SIZES, bench.TWO_LEAVES, **run)
    for (a, _), (b, _) in zip(whole, bench.start("fedavg", setting, X).after(COHORTS), strict=True):
        close(bench.flat(a.server.variables.params), bench.flat(b.server.variables.params))


@pytest.mark.parametrize("warm_up", [0, 2, 4])
def test_the_share_that_is_sent_falls_as_the_twins(warm_up):
    falling = [dgc_twin.warm_up_ratio(0.001, epoch, warm_up) for epoch in range(7)]
    close(dgc.ratios(DGC(ratio=0.001, warm_up=warm_up), 7), falling)


def test_costs_are_values_with_positions_and_the_biases():
    ((_, metrics),) = start(ratio=0.2).after(COHORTS[:1])
    one = dgc_twin.upload_bytes([(2,), (3, 2)], 0.2)
    assert prices.message_bytes(metrics.up, "values+indices", 4) == 3 * one == 3 * (2 * 4 + 2 * 8)
    assert prices.message_bytes(metrics.down, "smallest", 4) == 3 * D * 4
