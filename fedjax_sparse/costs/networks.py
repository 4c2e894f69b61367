"""How long rounds would take real clients: their links and processors, and the time of given bytes and FLOPs.

A client that is sent D bytes, computes F FLOPs and sends U bytes takes

    [D > 0] latency + 8 D / downlink + F / flops + 8 U / uplink + [U > 0] latency

and a round takes as long as its slowest client. Servers take no time, nobody shares a link, and nothing overlaps. It is
said after the fact, of bytes and FLOPs that were counted: no training depends on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MEGA, GIGA = 10**6, 10**9


class Tier(NamedTuple):
    """Clients that are alike.

    Attributes:
        uplink_mbps: Mbit/s from a client to the server.
        downlink_mbps: Mbit/s from the server to a client.
        latency_ms: Milliseconds of one way, which each message takes beside its bytes.
        gflops: 10^9 FLOP/s that training reaches.
        share: Of the clients, in proportion to the shares of the other tiers.
    """

    uplink_mbps: float
    downlink_mbps: float
    latency_ms: float
    gflops: float
    share: float = 1.0


class Network(NamedTuple):
    """What is known of clients of any number.

    Attributes:
        tiers: At least one.
        seed: Of who is in which tier, and of `spread`. None: the first ids are in the first tier, and so on.
        spread: Standard deviation of the logarithm of each client's uplink, downlink and FLOP/s, each drawn by itself
            around its tier's, the median.
        skips_zeros: Whether processors compute with living weights only; else as if nothing had been pruned.
    """

    tiers: tuple[Tier, ...]
    seed: int | None = None
    spread: float = 0.0
    skips_zeros: bool = True


class Known(NamedTuple):
    """A network that has a name, and where its numbers are from."""

    network: Network
    description: str


def _link(uplink_mbps: float, downlink_mbps: float, latency_ms: float, share: float = 1.0) -> Tier:
    # What a phone computes in training is nowhere agreed on: 10 GFLOP/s is an assumption, and `list networks` says so.
    return Tier(uplink_mbps, downlink_mbps, latency_ms, 10.0, share)


def _profile(uplink_mbps: float, downlink_mbps: float, round_trip_ms: float) -> Known:
    return Known(
        Network((_link(uplink_mbps, downlink_mbps, round_trip_ms / 2),)),
        f"{downlink_mbps:g} Mbit/s down, {uplink_mbps:g} up, {round_trip_ms / 2:g} ms (WebPageTest's profile)",
    )


_4G, _5G, _BROADBAND = _link(9, 9, 85), _link(50, 100, 4), _link(20, 100, 10)
NETWORKS: dict[str, Known] = {
    "3g": _profile(0.768, 1.6, 300),
    "4g": _profile(9, 9, 170),
    "lte": _profile(12, 12, 70),
    "dsl": _profile(0.384, 1.5, 50),
    "cable": _profile(1, 5, 28),
    "fiber": _profile(5, 20, 4),
    "5g": Known(
        Network((_5G,)), "100 Mbit/s down, 50 up, 4 ms (what ITU-R M.2410 asks of 5G for a user in a city)"
    ),
    "broadband": Known(
        Network((_BROADBAND,)),
        "100 Mbit/s down, 20 up (what the FCC has called broadband since 2024), 10 ms (assumed)",
    ),
    "broadband-links": Known(
        Network((_BROADBAND._replace(gflops=1e9),)),
        "those of broadband, and processors that take no time: communication alone",
    ),
    "mixed": Known(
        Network((_4G, _5G, _BROADBAND), seed=0),
        "a third of the clients each on 4g, 5g and broadband, drawn once",
    ),
}


class Links(NamedTuple):
    """Each client's link and processor; arrays are f64[N].

    Attributes:
        uplink: Bytes a second.
        downlink: Bytes a second.
        latency: Seconds.
        flops: FLOP/s.
        skips_zeros: As of `Network`.
    """

    uplink: np.ndarray
    downlink: np.ndarray
    latency: np.ndarray
    flops: np.ndarray
    skips_zeros: bool

    def seconds(self, ids: np.ndarray, up: np.ndarray, down: np.ndarray, flops: np.ndarray) -> float:
        """How long a round takes.

        Args:
            ids: i[C], N and above for empty places.
            up: Bytes from each place's client, [C] of Python integers.
            down: Bytes to it, likewise.
            flops: Of its training, likewise.
        """
        here = ids < len(self.latency)
        own = ids[here]
        sent, received, work = (counts[here].astype(np.float64) for counts in (up, down, flops))
        messages = (sent > 0).astype(int) + (received > 0)
        seconds = messages * self.latency[own] + received / self.downlink[own]
        seconds += work / self.flops[own] + sent / self.uplink[own]
        return float(seconds.max(initial=0.0))


def links(network: Network, clients: int) -> Links:
    """The links of N clients: tiers get their shares of the ids, rounded, in order or as the seed deals them."""
    shares = np.cumsum([tier.share for tier in network.tiers])
    middles = (np.arange(clients) + 0.5) / clients * shares[-1]
    tier = np.searchsorted(shares, middles, side="right")
    rng = np.random.default_rng(network.seed)
    if network.seed is not None:
        tier = rng.permutation(tier)
    table = np.array([each[:4] for each in network.tiers], np.float64)[tier]
    uplink, downlink, latency, gflops = table.T
    factors = (
        np.exp(network.spread * rng.standard_normal((3, clients)))
        if network.spread
        else np.ones((3, clients))
    )
    return Links(
        uplink * MEGA / 8 * factors[0],
        downlink * MEGA / 8 * factors[1],
        latency / 1000,
        gflops * GIGA * factors[2],
        network.skips_zeros,
    )
