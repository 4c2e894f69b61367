"""SparsyFed, figure 6: accuracy against bytes sent, and how sparse the server's model is by round.

python scripts/sparsyfed_communication.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction, Verdict

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml", FILES / "sparsyfed/fashion_mnist_cpu.toml", FILES / "sparsyfed/cifar10_a1_s95.toml"
)
SPARSITY = 0.95
METHODS = {"SparsyFed": "sparsyfed", "Top-K": "topk-weights", "ZeroFL": "zerofl", "FLASH": "flash"}


def cases(scale):
    """Every method at 95 %, and dense training."""
    options = SETTINGS.options(scale)
    yield case("dense", "fedavg", options)
    for name, algorithm in METHODS.items():
        yield case(name, algorithm, options, sparsity=SPARSITY)


def picture(results):
    """Accuracy over bytes of both links and over those to the clients; the density of what the server sends."""
    by_bytes = charts.curves(results, "communicated_bytes")
    downlink = charts.curves(results, "downlink_bytes")
    return charts.picture(
        results, [*by_bytes, *downlink, *charts.curves(results, "round", ["downlink_density"])]
    )


def judge(results):
    """The factor by which the downlink has fewer bytes, positions included, than dense training; 19 within a tenth."""
    dense, sparse = (results.mean(name, column="downlink_bytes", last=1) for name in ("dense", "SparsyFed"))
    said = f"the server sends {dense / sparse:.3g} times fewer bytes than in dense training"
    return Verdict(bool(dense / sparse > 17), f"{said}, positions included; the paper counts values alone")


REPRODUCTION = Reproduction(
    "sparsyfed_communication",
    "SparsyFed, figure 6: accuracy against communication",
    cases,
    picture,
    "19 times less is sent to the clients than in dense training",
    judge,
    tuned={"cpu": FILES / "tuned/sparsyfed.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
