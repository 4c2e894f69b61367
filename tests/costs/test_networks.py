"""Simulated time: a client after the other in exact fractions, and who gets which link."""

from fractions import Fraction

import numpy as np
import pytest

from fedjax_sparse.costs.networks import NETWORKS, Network, Tier, links

SLOW, FAST = Tier(1, 2, 250, 0.5), Tier(8, 16, 10, 4)


def seconds_of(tier: Tier, up: int, down: int, flops: int) -> Fraction:
    """One client's time, written out."""
    time = Fraction(flops) / (Fraction(tier.gflops) * 10**9)
    for count, mbps in ((up, tier.uplink_mbps), (down, tier.downlink_mbps)):
        if count > 0:
            time += Fraction(tier.latency_ms) / 1000 + Fraction(8 * count) / (Fraction(mbps) * 10**6)
    return time


def test_a_round_lasts_as_long_as_its_slowest_client():
    rng = np.random.default_rng(0)
    clients = [SLOW, SLOW, FAST, FAST, FAST]
    made = links(Network((SLOW._replace(share=2), FAST._replace(share=3))), 5)
    for _ in range(20):
        ids = rng.permutation(7)[:4]  # 5 and 6 are empty places, which send and compute nothing
        up, down, flops = np.where(ids < 5, rng.integers(0, 3, (3, 4)) * 10**7, 0).astype(object)
        flops = flops * 10**12  # past int64
        each = [
            seconds_of(clients[i], u, d, f) for i, u, d, f in zip(ids, up, down, flops, strict=True) if i < 5
        ]
        assert made.seconds(ids, up, down, flops) == pytest.approx(float(max(each)), rel=1e-14)


def test_a_round_without_clients_takes_no_time():
    nothing = np.zeros(3, object)
    assert links(Network((SLOW,)), 2).seconds(np.array([2, 2, 2]), nothing, nothing, nothing) == 0


def test_who_does_nothing_and_is_sent_nothing_takes_no_time():
    nothing = np.zeros(2, object)
    assert links(Network((SLOW,)), 2).seconds(np.arange(2), nothing, nothing, nothing) == 0


def test_tiers_go_by_id_or_are_drawn_once():
    tiers = (SLOW, FAST._replace(share=3))
    by_id = links(Network(tiers), 8)
    assert by_id.latency.tolist() == [0.25] * 2 + [0.01] * 6
    assert by_id.uplink.tolist() == [1e6 / 8] * 2 + [1e6] * 6
    drawn = [links(Network(tiers, seed=seed), 40).latency for seed in (1, 1, 2)]
    assert all((latency == 0.25).sum() == 10 for latency in drawn)
    assert drawn[0].tolist() == drawn[1].tolist() != drawn[2].tolist()


def test_rates_are_spread_around_their_tier():
    made = links(Network((FAST,), seed=0, spread=0.5), 4000)
    for rates, median in ((made.uplink, 1e6), (made.downlink, 2e6), (made.flops, 4e9)):
        logs = np.log(rates / median)
        assert abs(logs.mean()) < 0.03
        assert abs(logs.std() - 0.5) < 0.03
    assert set(made.latency) == {0.01}
    assert abs(np.corrcoef(made.uplink, made.flops)[0, 1]) < 0.05


def test_known_networks():
    assert NETWORKS["4g"].network.tiers[0][:3] == (9, 9, 85)
    assert NETWORKS["5g"].network.tiers[0][:3] == (50, 100, 4)
    assert "FCC" in NETWORKS["broadband"].description
    both = [links(NETWORKS[name].network, 2) for name in ("broadband", "broadband-links")]
    sent, flops = np.array([10**9, 0], object), np.array([10**12, 0], object)
    slow, fast = (each.seconds(np.arange(2), sent, sent, flops) for each in both)
    assert fast == pytest.approx(0.02 + 8e9 / 20e6 + 8e9 / 100e6)
    assert slow == pytest.approx(fast + 100)
    assert sorted(set(links(NETWORKS["mixed"].network, 30).latency)) == [0.004, 0.01, 0.085]
