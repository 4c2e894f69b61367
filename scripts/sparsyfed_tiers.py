"""SparsyFed with clients of different sparsity: one global model, pruned to what each tier of clients can hold.

python scripts/sparsyfed_tiers.py --scale smoke --out runs/smoke
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
SPARSITIES = {"smoke": [0.8, 0.95], "cpu": [0.9, 0.95, 0.99], "paper": [0.9, 0.95, 0.99]}


def cases(scale):
    """Tiers of clients, as many in each, deployed at each one's sparsity; and one sparsity for all, for each."""
    options, sparsities = SETTINGS.options(scale), SPARSITIES[scale]
    bounds = [round(options["clients"] * (i + 1) / len(sparsities)) for i in range(len(sparsities))]
    tiers = ",".join(f"{bound}:{sparsity}" for bound, sparsity in zip(bounds, sparsities, strict=True))
    for sparsity in sparsities:
        yield case("trained in tiers", "sparsyfed", options, at=sparsity, sparsity=sparsity, tiers=tiers)
        yield case("trained for it alone", "sparsyfed", options, at=sparsity, sparsity=sparsity)


def picture(results):
    """Accuracy of the deployed model over its sparsity."""
    return charts.picture(results, charts.sweep(results, Quantity("Sparsity of the deployed model", "%")))


REPRODUCTION = Reproduction(
    "sparsyfed_tiers", "SparsyFed: accuracy by tier where clients differ in sparsity", cases, picture
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
