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
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, factor
from fedjax_sparse.results.reading import ACCURACY
from fedjax_sparse.results.statistics import ratio

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
    yield from fedsparsify.sparse(options, TENTH, SYSTEM if smoke else SYSTEM | RIVALS)


def picture(results):
    """What methods learn and weigh by round, and what their accuracy costs."""
    by_round = charts.curves(results, "round", [ACCURACY, "density"])
    by_cost = [chart for cost in COSTS for chart in charts.curves(results, cost)]
    return charts.picture(results, [*by_round, *by_cost])


def judge(results):
    """Whether FedSparsify-Global has the accuracy of FedAvg's end, less a point, for fewer bytes and FLOPs."""
    target = results.mean("FedAvg") - 0.01
    fewer = {
        unit: ratio(
            *(results.costs_to_reach(name, target, column) for name in ("FedAvg", "FedSparsify-Global"))
        )
        for column, unit in COSTS.items()
    }
    if any(np.isnan(by.mean) for by in fewer.values()):
        return Verdict(False, f"not every seed reaches {100 * target:.1f} %, a point below FedAvg's end")
    said = " and ".join(f"{factor(by)} fewer {unit}" for unit, by in fewer.items())
    holds = all_of(above(by, 1) for by in fewer.values())
    return Verdict(holds, f"{100 * target:.1f} % takes {said} than FedAvg")


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
