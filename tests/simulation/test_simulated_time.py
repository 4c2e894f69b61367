"""Simulated time of whole runs against loops over rounds and clients, and that nothing else depends on it."""

import jax
import numpy as np
import pytest

from fedjax_sparse.costs import networks
from fedjax_sparse.costs.networks import Network, Tier
from fedjax_sparse.simulation import driver
from tests import toy

NETWORK = Network((Tier(1, 2, 50, 1e-5), Tier(3, 4, 20, 4e-5)), seed=1, skips_zeros=False)
KERNELS, PARAMETERS, VALUE_BYTES = (4 * 5, 5 * 3), 4 * 5 + 5 + 5 * 3 + 3, 4


def rows_of(setting, name, **hyper):
    (rows,) = driver.simulate(toy.algorithm(name, setting, **hyper), setting).rows
    return rows


@pytest.fixture(scope="module")
def timed():
    """The toy problem in which the last client of a cohort may drop out."""
    setting = toy.setting(np.float32, dropout=0.3)
    return setting._replace(links=networks.links(NETWORK, len(toy.SIZES)))


def client_seconds(links, i: int, trained: bool) -> float:
    """What one client takes that is sent a dense model, and trains and answers unless it drops out."""
    size = VALUE_BYTES * PARAMETERS
    seconds = links.latency[i] + size / links.downlink[i]
    if trained:
        flops = (
            2 * toy.SIZES[i] * (2 * 2 * KERNELS[0] + 2 * 3 * KERNELS[1])
        )  # two epochs; no input gradient at first
        seconds += flops / links.flops[i] + links.latency[i] + size / links.uplink[i]
    return seconds


def test_the_time_of_a_run_is_that_of_the_slowest_client_of_each_round(timed):
    expected, total = [0.0], 0.0
    for t in range(1, toy.ROUNDS + 1):
        ids, present = timed.sampler.draw(0, t)
        total += max(client_seconds(timed.links, i, here) for i, here in zip(ids, present, strict=True))
        expected.append(total)
    rows = rows_of(timed, "fedavg")
    np.testing.assert_allclose([row["simulated_seconds"] for row in rows], expected, rtol=1e-13)
    plain = rows_of(timed._replace(links=None), "fedavg")
    for row, other in zip(rows, plain, strict=True):
        assert {k: v for k, v in row.items() if k not in ("simulated_seconds", "wall_seconds")} == {
            k: v for k, v in other.items() if k != "wall_seconds"
        }


def test_a_preparation_by_one_client_takes_that_clients_time(timed):
    """SNIP asks one client for scores of its first batch, and sends everyone the mask."""
    before, *_ = rows_of(timed, "snip", sparsity=0.9)
    choice_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 2))
    asked = int(jax.random.randint(choice_key, (), 0, len(toy.SIZES)))
    links, bits = timed.links, -(-sum(KERNELS) // 8)
    each = []
    for i in range(len(toy.SIZES)):
        seconds = links.latency[i] + bits / links.downlink[i]
        if i == asked:
            flops = min(3, toy.SIZES[i]) * (2 * 2 * KERNELS[0] + 2 * 3 * KERNELS[1])
            seconds += VALUE_BYTES * PARAMETERS / links.downlink[i] + flops / links.flops[i]
            seconds += links.latency[i] + VALUE_BYTES * sum(KERNELS) / links.uplink[i]
        each.append(seconds)
    assert before["simulated_seconds"] == pytest.approx(max(each), rel=1e-13)
