"""SparsyFed: the density of each layer of the server's model by round.

python scripts/sparsyfed_layers.py --scale smoke --out runs/smoke
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


def cases(scale):
    """SparsyFed and Top-K at 95 %."""
    options = SETTINGS.options(scale)
    for name, algorithm in {"SparsyFed": "sparsyfed", "Top-K": "topk-weights"}.items():
        yield case(name, algorithm, options, sparsity=SPARSITY)


def picture(results):
    """A panel for each layer whose density was recorded."""
    columns = results.found[0].run.seeds[0]
    layers = [name for name in columns if name.startswith("density/")]
    panels = [
        chart._replace(panel=layer.removeprefix("density/"), y=Quantity("Density", "%", "zero"))
        for layer in layers
        for chart in charts.curves(results, "round", [layer])
    ]
    return charts.picture(results, panels)


REPRODUCTION = Reproduction(
    "sparsyfed_layers",
    "SparsyFed: density of each layer by round",
    cases,
    picture,
    published=(FILES / "published/sparsyfed.toml", "layers"),
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
