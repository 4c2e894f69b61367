"""FedDyn against its slow twin, the golden values of its definition, and FedProx."""

import numpy as np
import pytest

from fedjax_sparse.config.cards.feddyn import FedDyn
from fedjax_sparse.costs import prices
from fedjax_sparse.errors import UsageError
from tests.baselines import feddyn_twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import BOTH, START, close, golden, quadratic

SIZES = (1, 4, 5, 7)  # examples in batches of 3: 1, 2, 2, 3 steps
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
D, ALPHA = 8, 0.3
X = np.linspace(-1, 1, D)


def run(cohorts=COHORTS, **hyper):
    _, noisy = quadratic(5, 4, D)
    setting = bench.federation(noisy, SIZES, bench.TWO_LEAVES, batch_size=3)
    return bench.start("feddyn", setting, X, strength=ALPHA, **hyper).after(cohorts)


@pytest.mark.parametrize("deployed", ["cloud", "average", "all"])
@pytest.mark.parametrize("strength_by", ["examples", "uniform"])
def test_three_rounds_agree_with_the_twin(strength_by, deployed):
    _, noisy = quadratic(5, 4, D)
    omega = np.divide(SIZES, np.mean(SIZES)) if strength_by == "examples" else np.ones(4)
    state = feddyn_twin.init(X, 4)
    for cohort, (new, _) in zip(COHORTS, run(strength_by=strength_by, deployed=deployed), strict=True):
        state = feddyn_twin.run_round(state, cohort, noisy, steps=STEPS, lr=0.1, alpha=ALPHA, omega=omega)
        close(bench.flat(new.server.variables.params), state["theta"])
        close(bench.flat(new.server.shift), state["l"].mean(axis=0))
        close(bench.rows(new.client.shift), state["l"])
        name = "avg" if deployed == "average" else deployed
        close(bench.flat(new.server.deployed.params), feddyn_twin.reported(state)[name])


@pytest.mark.parametrize(
    ("cohorts", "theta", "shifts"),
    [
        ([BOTH, BOTH], (-0.805, -1.4005375), [(0.185, -0.99), (0.5018125, -1.49985)]),
        ([[0], [1]], (0.2775, -1.32104375), [(0.185, 0), (0.185, -1.1273625)]),
    ],
)
def test_golden_values(cohorts, theta, shifts):
    setting = bench.federation(golden, (2, 2), bench.ONE, local_epochs=2)
    history = bench.start("feddyn", setting, START, strength=0.5).after(cohorts)
    for (state, _), model, shift in zip(history, theta, shifts, strict=True):
        close(bench.flat(state.server.variables.params), model)
        close(bench.flat(state.client.shift), shift)


def test_the_first_average_is_that_of_fedprox():
    """While nothing is remembered, the regulariser is FedProx's proximal term."""
    _, noisy = quadratic(5, 4, D)
    setting = bench.federation(noisy, SIZES, bench.TWO_LEAVES, batch_size=3)
    ((near, _),) = bench.start("fedprox", setting, X, mu=ALPHA).after(COHORTS[:1])
    ((state, _),) = run(COHORTS[:1], strength_by="uniform", deployed="average")
    close(bench.flat(state.server.deployed.params), bench.flat(near.server.variables.params))


def test_one_model_travels_each_way():
    ((_, metrics),) = run(COHORTS[:1])
    assert prices.message_bytes(metrics.up, "smallest", 4) == 3 * D * 4
    assert prices.message_bytes(metrics.down, "smallest", 4) == 3 * D * 4


def test_alpha_zero_is_refused():
    """It is not FedAvg: the server would still add the mean of what the clients remember."""
    with pytest.raises(UsageError, match=r"--strength = 0.0 is out of range; allowed: \(0, inf\)"):
        FedDyn(strength=0.0)
