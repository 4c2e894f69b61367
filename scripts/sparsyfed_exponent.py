"""SparsyFed: how much its accuracy depends on its one hyper-parameter, the exponent.

python scripts/sparsyfed_exponent.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.results.drawing import Quantity

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml", FILES / "sparsyfed/fashion_mnist_cpu.toml", FILES / "sparsyfed/cifar10_a1_s95.toml"
)
SPARSITY = 0.95
EXPONENTS = {
    "smoke": [1.25, 2.0],
    "cpu": [1.0, 1.25, 2.0, 3.0],
    "paper": [1.0, 1.125, 1.25, 1.375, 2.0, 2.25, 2.75, 3.0, 4.0],
}
ROUNDS = {"smoke": {}, "cpu": {}, "paper": {"rounds": 500}}  # the authors' of this sweep


def cases(scale):
    """SparsyFed at 95 % with each exponent, and dense training across."""
    options = SETTINGS.options(scale) | ROUNDS[scale]
    yield case("dense", "fedavg", options)
    for beta in EXPONENTS[scale]:
        yield case("SparsyFed", "sparsyfed", options, at=beta, beta=beta, sparsity=SPARSITY)


def picture(results):
    """Accuracy over the exponent."""
    return charts.picture(results, charts.sweep(results, Quantity("Exponent β")))


REPRODUCTION = Reproduction(
    "sparsyfed_exponent", "SparsyFed: accuracy by exponent at 95 % sparsity", cases, picture
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
