"""SparsyFed, table 2 and figure 3: which of its parts its accuracy comes from.

python scripts/sparsyfed_ablation.py --scale smoke --out runs/smoke
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
SPARSITIES = {"smoke": [0.95], "cpu": [0.95, 0.99], "paper": [0.9, 0.95, 0.99, 0.995, 0.999]}
# Table 2 is of several; elsewhere the one of the settings, in a panel without a title.
ALPHAS = {
    "smoke": {"": {}},
    "cpu": {"": {}},
    "paper": {f"Dirichlet {a:g}": {"alpha": a} for a in (1000.0, 1.0, 0.1)},
}
ROUNDS = {"smoke": {}, "cpu": {}, "paper": {"rounds": 500}}  # 500 or 600 in the authors' ablations
VARIANTS = {
    "SparsyFed": ("sparsyfed", {}),
    "all activations": ("sparsyfed", {"activation_pruning": False}),
    "spectral exponent": ("sparsyfed", {"beta": "spectral"}),
    "fixed mask": ("fixed-mask", {}),
    "Top-K": ("topk-weights", {}),
}


def cases(scale):
    """SparsyFed and what is left of it without each part, at every sparsity."""
    options = SETTINGS.options(scale) | ROUNDS[scale]
    for panel, here in ALPHAS[scale].items():
        for sparsity in SPARSITIES[scale]:
            for name, (algorithm, own) in VARIANTS.items():
                yield case(
                    name, algorithm, options | here, panel=panel, at=sparsity, sparsity=sparsity, **own
                )


def picture(results):
    """Accuracy over sparsity, a line for each variant."""
    return charts.picture(results, charts.sweep(results, Quantity("Sparsity", "%")))


REPRODUCTION = Reproduction("sparsyfed_ablation", "SparsyFed: ablation of its parts", cases, picture)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
