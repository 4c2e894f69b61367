"""SalientGrads: accuracy at 80 % sparsity by how much clients differ.

python scripts/salientgrads_alpha.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, salientgrads
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.reading import ACCURACY, CLIENT_ACCURACY

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "salientgrads/cifar10_cpu.toml",
    FILES / "salientgrads/cifar10_resnet18.toml",
)
SPARSITY = {"smoke": 0.5, "cpu": 0.8, "paper": 0.8}  # at the smoke scale that of the other figures
ALPHAS = {"smoke": [1.0], "cpu": [0.1, 0.3, 1.0], "paper": [0.1, 0.2, 0.3, 0.5, 1.0]}


def cases(scale):
    """SalientGrads and FedAvg, and at the paper's scale DisPFL, for every alpha."""
    sparse = {"SalientGrads": "salientgrads"} | ({"DisPFL": "dispfl"} if scale == "paper" else {})
    names = {salientgrads.named(name, SPARSITY[scale]): algorithm for name, algorithm in sparse.items()}
    for alpha in ALPHAS[scale]:
        options = {**SETTINGS.options(scale), "alpha": alpha}
        yield from salientgrads.dense(options, {"FedAvg": "fedavg"}, at=alpha)
        yield from salientgrads.sparse(options, SPARSITY[scale], names, at=alpha)


def picture(results):
    """Accuracy on all test images, and on clients' own."""
    alpha = Quantity("Dirichlet α (smaller: clients differ more)", scale="log")
    measures = (ACCURACY, CLIENT_ACCURACY)
    return charts.picture(results, [chart for y in measures for chart in charts.sweep(results, alpha, y)])


REPRODUCTION = Reproduction("salientgrads_alpha", "SalientGrads: accuracy by Dirichlet α", cases, picture)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
