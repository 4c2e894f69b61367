"""The minimum that convex runs are measured against."""

import numpy as np
import pytest
from scipy import optimize

from fedjax_sparse.config import run_config
from fedjax_sparse.data import synthetic
from fedjax_sparse.errors import UsageError
from fedjax_sparse.reproduction import convex

SETTING = {"dataset": "synthetic/logistic", "model": "logistic", "partition": "natural", "clients": 10}


def test_the_minimum_is_that_of_a_general_optimizer_with_a_penalised_intercept():
    config = run_config.configure("scaffnew", **SETTING, weight_decay=0.1)
    data = synthetic.load("synthetic/logistic")
    x, sign = np.column_stack([data.x_train, np.ones(len(data.x_train))]), 2.0 * data.y_train - 1

    def objective(w):
        by_client = [np.logaddexp(0, -sign * (x @ w))[data.client_train == i].mean() for i in range(10)]
        return np.mean(by_client) + 0.05 * w @ w

    found = optimize.minimize(objective, np.zeros(31), options={"gtol": 1e-7})
    assert convex.minimum(config) == pytest.approx(found.fun, abs=1e-9)


@pytest.mark.parametrize(
    "changed", [{"model": "softmax"}, {"weighting": "examples"}, {"clients": "auto"}, {}]
)
def test_another_objective_is_refused(changed):
    config = run_config.configure(
        "scaffnew", **{**SETTING, "weight_decay": 0.1 if changed else 0.0, **changed}
    )
    with pytest.raises(UsageError, match="no minimum of --model"):
        convex.minimum(config)
