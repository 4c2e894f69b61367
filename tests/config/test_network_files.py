"""Networks from TOML files, and what is wrong with them in one line."""

from pathlib import Path

import pytest

from fedjax_sparse.config import network_files
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.costs.networks import NETWORKS, Network, Tier
from fedjax_sparse.errors import UsageError

TIER = "[[tier]]\nuplink_mbps = 1\ndownlink_mbps = 2.5\nlatency_ms = 0\ngflops = 3\n"


def written(folder: Path, text: str) -> str:
    file = folder / "network.toml"
    file.write_text(text)
    return str(file)


def test_a_file_is_read(tmp_path):
    text = f"seed = 3\nspread = 0.5\nskips_zeros = false\n{TIER}share = 2\n{TIER}"
    tier = Tier(1.0, 2.5, 0.0, 3.0)
    expected = Network((tier._replace(share=2.0), tier), 3, 0.5, False)
    assert network_files.load(written(tmp_path, text)) == expected
    assert network_files.load(written(tmp_path, TIER)) == Network((tier,))


def test_a_name_is_known():
    assert network_files.load("5g") is NETWORKS["5g"].network
    assert configure("fedavg", network="5g").run.network == "5g"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no clients are described; add a table \[\[tier\]\]"),
        ("tier = 3", r"no clients are described; add a table \[\[tier\]\]"),
        ("[[tier]]\nuplink_mbps = 1", "tier 1 lacks downlink_mbps, latency_ms, gflops"),
        (f"{TIER}{TIER}speed = 1", "tier 2: unknown key 'speed'"),
        (
            TIER.replace("2.5", "0"),
            r"tier 1: downlink_mbps = 0.0 is out of range; allowed: \[1e-06, 1000000000\]",
        ),
        (TIER.replace("2.5", "nan"), "tier 1: downlink_mbps = nan is not valid; allowed: a finite number"),
        (TIER.replace("2.5", '"fast"'), "tier 1: downlink_mbps = 'fast' is not valid; allowed: float"),
        (f"spread = 0.5\n{TIER}", "spread is drawn at random, and there is no seed"),
        (f"sed = 1\n{TIER}", "unknown key 'sed'; did you mean 'seed'"),
        (f"seed = -1\n{TIER}", "seed = -1 is out of range"),
        ("[[tier]", "is not a TOML file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, message):
    with pytest.raises(UsageError, match=f"network.toml.*{message}"):
        network_files.load(written(tmp_path, text))


def test_what_is_no_network_is_refused_at_the_door():
    with pytest.raises(UsageError, match=r"unknown --network '6g'.*allowed: .*FILE\.toml"):
        configure("fedavg", network="6g")
    with pytest.raises(UsageError, match=r"cannot read none\.toml"):
        network_files.load("none.toml")
