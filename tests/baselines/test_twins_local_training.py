"""Twins of local training and FedAvg against each other and against Scaffnew without controls."""

import numpy as np
import pytest

from tests.algorithms import proxskip_twin
from tests.baselines import local_training_twin
from tests.baselines.quadratics import BOTH, LR, START, B, K, close, golden, quadratic


def test_local_training_goes_to_every_clients_own_minimiser():
    models = local_training_twin.alone(START, golden, steps=K, lr=lambda t: LR, rounds=200)
    close(models, B)
    figures = local_training_twin.report(models, lambda y, k: float(y[0]) if k is None else float(k))
    assert figures == {
        "personal": 0.5,
        "mean_global": pytest.approx(-0.5),
        "oneshot_average": pytest.approx(-0.5),
    }


def test_local_training_and_fedavg_agree_on_one_client_and_one_round():
    alone = local_training_twin.alone(START, golden, steps=K, lr=lambda t: LR, rounds=1)
    fedavg = local_training_twin.fedavg_round(START, BOTH, golden, steps=K, lr=LR)
    close(alone.mean(axis=0), fedavg)


def test_fedavg_is_scaffnew_without_controls():
    exact, _ = quadratic(8, 3, 2)
    x = np.zeros(2)
    for _ in range(4):
        x = local_training_twin.fedavg_round(x, range(3), exact, steps=[3] * 3, lr=0.1)
    coins = [False, False, True] * 4
    run = proxskip_twin.scaffnew(exact, np.zeros(2), coins, clients=3, gamma=0.1, p=1 / 3, control=False)
    close(x, run.server)


def test_local_training_follows_the_schedule_of_rounds():
    models = local_training_twin.alone(START, golden, steps=(1, 2), lr=lambda t: 0.1 / (1 + t), rounds=2)
    close(models, B * (1 - np.asarray([0.9 * 0.95, 0.7**2 * 0.85**2])))
