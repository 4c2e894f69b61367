"""The networks of `--network`: those that have a name, and TOML files. No JAX here.

    seed = 0                  # draws who is in which tier; without it the first ids are in the first tier
    spread = 0.3              # every client's rates are drawn around its tier's, log-normally (needs the seed)
    skips_zeros = false       # processors that compute with zeros, too; true by default

    [[tier]]
    share = 2                 # two of three clients
    uplink_mbps = 9.0
    downlink_mbps = 9.0
    latency_ms = 85.0
    gflops = 10.0

    [[tier]]
    uplink_mbps = 50.0
    ...

What the keys mean is said in `fedjax_sparse.costs.networks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedjax_sparse import errors
from fedjax_sparse.config import run_config
from fedjax_sparse.config.options import Option, Range, checked
from fedjax_sparse.config.sections import SEED
from fedjax_sparse.costs.networks import NETWORKS, Network, Tier


class _Key(Option):
    """A key of a file, which is checked as an option is."""

    @property
    def flag(self) -> str:
        return self.name


def _keys(**known: tuple[type, Range | None]) -> dict[str, _Key]:
    return {name: _Key(name, kind, None, "", allowed, None) for name, (kind, allowed) in known.items()}


RATE = Range(1e-6, 1e9)  # so wide that any client fits, and so narrow that no time is infinite
OF_ALL = _keys(seed=(int, SEED), spread=(float, Range(0, 3)), skips_zeros=(bool, None))
OF_TIER = _keys(
    uplink_mbps=(float, RATE),
    downlink_mbps=(float, RATE),
    latency_ms=(float, Range(0, 1e9)),
    gflops=(float, RATE),
    share=(float, RATE),
)


def load(name: str) -> Network:
    """The network of that name, or in that TOML file.

    Raises:
        UsageError: The file cannot be read, or states something that is not allowed.
    """
    if name in NETWORKS:
        return NETWORKS[name].network
    table = run_config.read(name)
    try:
        return _network(table)
    except errors.UsageError as error:
        raise errors.UsageError(f"{name}: {error}") from None


def _network(table: Mapping[str, Any]) -> Network:
    stated = _checked({key: value for key, value in table.items() if key != "tier"}, OF_ALL)
    tiers = table.get("tier")
    if not isinstance(tiers, list) or not tiers or not all(isinstance(tier, Mapping) for tier in tiers):
        raise errors.UsageError("no clients are described; add a table [[tier]] for those that are alike")
    if stated.get("spread") and "seed" not in stated:
        raise errors.UsageError("spread is drawn at random, and there is no seed; state one")
    return Network(tuple(_tier(number, tier) for number, tier in enumerate(tiers, start=1)), **stated)


def _tier(number: int, table: Mapping[str, Any]) -> Tier:
    try:
        stated = _checked(table, OF_TIER)
    except errors.UsageError as error:
        raise errors.UsageError(f"tier {number}: {error}") from None
    needed = [name for name in Tier._fields if name not in Tier._field_defaults]
    if lacking := [name for name in needed if name not in stated]:
        raise errors.UsageError(f"tier {number} lacks {', '.join(lacking)}")
    return Tier(**stated)


def _checked(table: Mapping[str, Any], known: Mapping[str, _Key]) -> dict[str, Any]:
    for name in table:
        if name not in known:
            errors.unknown_name("key", name, known)
    return {name: checked(known[name], value) for name, value in table.items()}
