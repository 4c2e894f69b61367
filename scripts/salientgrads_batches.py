"""SalientGrads: accuracy by I, the minibatches on which each client scores the weights.

python scripts/salientgrads_batches.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, salientgrads
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.results.drawing import Quantity

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "salientgrads/cifar10_cpu.toml",
    FILES / "salientgrads/cifar10_resnet18_i20_d30.toml",
)
BATCHES = {"smoke": [1, 5], "cpu": [1, 20], "paper": [1, 20, 50, 100]}
SPARSITIES = {"smoke": [0.5], "cpu": [0.8, 0.95], "paper": [0.7, 0.8, 0.9]}


def cases(scale):
    """SalientGrads for every sparsity and I."""
    options = SETTINGS.options(scale)
    for sparsity in SPARSITIES[scale]:
        for batches in BATCHES[scale]:
            names = {salientgrads.named("SalientGrads", sparsity): "salientgrads"}
            yield from salientgrads.sparse(options, sparsity, names, at=batches, saliency_batches=batches)


def picture(results):
    """Accuracy over I, a line for each sparsity."""
    return charts.picture(results, charts.sweep(results, Quantity("Minibatches scored by each client, I")))


REPRODUCTION = Reproduction(
    "salientgrads_batches", "SalientGrads: accuracy by minibatches of saliency", cases, picture
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
