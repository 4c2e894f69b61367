"""FedSparsify: accuracy and density by round, and accuracy by what was sent and by training FLOPs.

python scripts/fedsparsify_cost.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, fedsparsify
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.fedsparsify import DENSE, RIVALS, SYSTEM, TENTH
from fedjax_sparse.reproduction.reproducing import Reproduction, Verdict
from fedjax_sparse.results.reading import ACCURACY

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "fedsparsify/fashion_mnist_cpu.toml",
    FILES / "fedsparsify/fashion_mnist_2classes.toml",
)
COSTS = {"communicated_bytes": "bytes", "flops": "FLOPs"}


def cases(scale):
    """Dense training, and every method at 90 %."""
    options, smoke = SETTINGS.options(scale), scale == "smoke"
    yield from fedsparsify.dense(options, {"FedAvg": "fedavg"} if smoke else DENSE)
    yield from fedsparsify.sparse(options, TENTH, SYSTEM | {"SNIP": "snip"} if smoke else SYSTEM | RIVALS)


def picture(results):
    """What methods learn and weigh by round, and what their accuracy costs."""
    by_round = charts.curves(results, "round", [ACCURACY, "density"])
    by_cost = [chart for cost in COSTS for chart in charts.curves(results, cost)]
    return charts.picture(results, [*by_round, *by_cost])


def judge(results):
    """Whether FedSparsify-Global has the accuracy of FedAvg's end, less a point, for fewer bytes and FLOPs."""
    target = results.mean("FedAvg") - 0.01
    factors = {}
    for column, unit in COSTS.items():
        dense, sparse = (
            results.cost_to_reach(name, target, column) for name in ("FedAvg", "FedSparsify-Global")
        )
        factors[unit] = dense / sparse
    if any(map(np.isnan, factors.values())):
        return Verdict(False, f"not every seed reaches {100 * target:.1f} %, a point below FedAvg's end")
    said = " and ".join(f"{factor:.2f} times fewer {unit}" for unit, factor in factors.items())
    return Verdict(min(factors.values()) > 1, f"{100 * target:.1f} % takes {said} than FedAvg")


REPRODUCTION = Reproduction(
    "fedsparsify_cost",
    "FedSparsify: accuracy by round and by cost",
    cases,
    picture,
    "training needs less computation and communication",
    judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
