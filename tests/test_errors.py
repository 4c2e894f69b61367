"""How errors are worded: near names are offered, others are not."""

import pytest

from fedjax_sparse import errors


@pytest.mark.parametrize(
    ("name", "allowed", "near"),
    [
        ("FEDAVG", ["fedavg", "fedprox"], "fedavg"),
        ("fedagv", ["fedavg", "fedprox"], "fedavg"),
        ("mpl", ["mlp", "gru"], "mlp"),
        ("rn", ["run", "plot"], "run"),
        ("--client_lR", ["--client-lr", "--server-lr"], "--client-lr"),
        ("--sparsiti", ["--sparsity"], "--sparsity"),
        ("bitmap", ["bitmask", "dense"], "bitmask"),
        ("FILE.NPZ", ["FILE.npz"], "FILE.npz"),
        ("export", ["plot", "list", "run", "resume", "cite", "prepare"], None),
        ("--sparsity", ["--partition", "--dropout", "--augment"], None),
        ("train", ["iid", "natural"], None),
        ("", ["iid"], None),
        ("--", ["--iid"], None),
    ],
)
def test_only_a_near_name_is_offered(name, allowed, near):
    assert errors.did_you_mean(name, allowed) == (f"; did you mean {near!r}?" if near else "")
