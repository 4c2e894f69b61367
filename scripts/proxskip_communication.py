"""Sparse-ProxSkip on networks: accuracy against communications and uplink, and the control variates.

python scripts/proxskip_communication.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, proxskip
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "sparse_proxskip/smoke.toml",
    FILES / "sparse_proxskip/mnist_cpu.toml",
    FILES / "sparse_proxskip/cifar10_cnn.toml",
)
SPARSITY = 0.9


def cases(scale):
    """Every variant at 90 %, and dense ProxSkip."""
    options = SETTINGS.options(scale)
    steps = round(1 / SETTINGS.hyper(scale)["probability"])
    yield proxskip.dense(options, steps)
    yield from proxskip.sparse(options, steps, SPARSITY)


def picture(results):
    """Accuracy over rounds and over uplink, and the mean control variate, which is zero where the method is exact."""
    by_round = charts.curves(results, "round", ["global_test_accuracy", "control_mean"])
    return charts.picture(results, [*by_round, *charts.curves(results, "uplink_bytes")])


REPRODUCTION = Reproduction(
    "proxskip_communication",
    "Sparse-ProxSkip on networks: accuracy against communications",
    cases,
    picture,
    tuned={"cpu": FILES / "tuned/proxskip.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
