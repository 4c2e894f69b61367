"""FedAvgM, FedAdagrad, FedAdam and FedYogi as algorithms, against their slow twin; rules and rows are in server/."""

import numpy as np
import pytest

from tests.baselines import fedopt_twin, local_training_twin
from tests.baselines import quadratic_federation as bench
from tests.baselines.quadratics import close, quadratic

SIZES = (1, 4, 5, 7)
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
D = 8
X = np.linspace(-1, 1, D)


@pytest.mark.parametrize("rule", ["adagrad", "adam", "yogi"])
@pytest.mark.parametrize("variant", ["paper", "flower", "tff"])
def test_three_rounds_agree_with_the_twin(rule, variant):
    _, noisy = quadratic(14, 4, D)
    setting = bench.federation(noisy, SIZES, bench.TWO_LEAVES, batch_size=3, weighting="examples")
    history = bench.start(f"fed{rule}", setting, X, eta=0.1, variant=variant).after(COHORTS)
    known = fedopt_twin.DEFAULTS.get((variant, rule), {"tau": 1e-9, "v0": 0.0})
    b1, b2, tau = (known.get(name, 0.0) for name in ("b1", "b2", "tau"))
    first = tau**2 if variant == "paper" else known["v0"]
    state = fedopt_twin.init(X, first)
    for cohort, (new, _) in zip(COHORTS, history, strict=True):
        x = state["x"]
        models = {k: local_training_twin.sgd(noisy, k, x, steps=STEPS[k], lr=0.1) for k in cohort}
        delta = local_training_twin.mean(models, cohort, SIZES) - x
        if (rule, variant) == ("adagrad", "tff"):
            state = fedopt_twin.tff_adagrad_round(state, delta, lr=0.1, tau=tau)
        else:
            corrected = variant in fedopt_twin.BIAS_CORRECTED
            state = fedopt_twin.adaptive_round(
                state, delta, rule=rule, lr=0.1, b1=b1, b2=b2, tau=tau, bias_correction=corrected
            )
        close(bench.flat(new.server.variables.params), state["x"])


def test_momentum_agrees_with_the_twin_and_without_it_is_federated_averaging():
    _, noisy = quadratic(14, 4, D)
    setting = bench.federation(noisy, SIZES, bench.TWO_LEAVES, batch_size=3, weighting="examples")
    history = bench.start("fedavgm", setting, X, eta=0.5, beta=0.7).after(COHORTS)
    state = fedopt_twin.init(X)
    for cohort, (new, _) in zip(COHORTS, history, strict=True):
        x = state["x"]
        models = {k: local_training_twin.sgd(noisy, k, x, steps=STEPS[k], lr=0.1) for k in cohort}
        delta = local_training_twin.mean(models, cohort, SIZES) - x
        state = fedopt_twin.momentum_round(state, delta, lr=0.5, beta=0.7)
        close(bench.flat(new.server.variables.params), state["x"])
    plain = bench.start("fedavgm", setting, X, beta=0.0).after(COHORTS)
    for (ours, _), (theirs, _) in zip(plain, bench.start("fedavg", setting, X).after(COHORTS), strict=True):
        close(bench.flat(ours.server.variables.params), bench.flat(theirs.server.variables.params))
