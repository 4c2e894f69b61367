"""Sparse-ProxSkip on networks: accuracy against communications and uplink, and the control variates.

python scripts/proxskip_communication.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "sparse_proxskip/smoke.toml",
    FILES / "sparse_proxskip/mnist_cpu.toml",
    FILES / "sparse_proxskip/cifar10_cnn.toml",
)
SPARSITY = 0.9
CLIENTS = {"pruned by clients": "sparse-proxskip", "pruned by clients in every step": "sparse-proxskip-local"}
NAIVE = "pruned by the server, naively"
OTHERS = {
    NAIVE: "sparse-proxskip-server-naive",
    "pruned by the server, modified": "sparse-proxskip-server-modified",
    "FedAvg, pruned by clients": "fedavg-client-topk",
}


def cases(scale):
    """Every variant at 90 %, and dense ProxSkip."""
    options = SETTINGS.options(scale)
    steps = round(1 / SETTINGS.hyper(scale)["probability"])
    yield case("ProxSkip, dense", "scaffnew", options, probability=1 / steps)
    for name, algorithm in (CLIENTS | OTHERS).items():
        own = {"local_steps": steps} if algorithm == "fedavg-client-topk" else {"probability": 1 / steps}
        yield case(name, algorithm, options, sparsity=SPARSITY, **own)


def picture(results):
    """Accuracy over rounds and over uplink, and the mean control variate, which is zero where the method is exact."""
    by_round = charts.curves(results, "round", ["global_test_accuracy", "control_mean"])
    return charts.picture(results, [*by_round, *charts.curves(results, "uplink_bytes")])


REPRODUCTION = Reproduction(
    "proxskip_communication",
    "Sparse-ProxSkip on networks: accuracy against communications",
    cases,
    picture,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
