"""FedSparsify: which weights of the final model are kept, from its first to its last, and how large those are.

    python scripts/fedsparsify_weights.py --scale smoke --out runs/smoke

The official script draws the mask of one model as a strip, and one histogram; here methods can be compared.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, fedsparsify
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.charts import Chart
from fedjax_sparse.reproduction.fedsparsify import SYSTEM, TENTH
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.results.drawing import Curve, Quantity

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "fedsparsify/fashion_mnist_cpu.toml",
    FILES / "fedsparsify/fashion_mnist.toml",
)
PARTS = 100  # of the model
BINS = 40  # of weights
KEPT = Quantity("Kept, of each hundredth of the model", "%", "zero")
COUNT = Quantity("Weights", "values", "log")


def cases(scale):
    """FedAvg, FedSparsify, and beyond the smoke scale pruning once, at a tenth of the size."""
    options = SETTINGS.options(scale)
    once = {} if scale == "smoke" else {"one-shot": "one-shot-pruning"}
    yield from fedsparsify.dense(options, {"FedAvg": "fedavg"})
    yield from fedsparsify.sparse(options, TENTH, SYSTEM | once)


@cache  # models are read once for both panels
def final_weights(folder):
    """All trainable values of each seed's last model, f32[seeds, N], in the order of its layers."""
    import jax

    from fedjax_sparse import load_run

    run = load_run(folder)
    models = [run.model("last", seed).variables.params for seed in run.seeds]
    return np.stack([np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(one)]) for one in models])


def kept(weights):
    """Share of each part of the model that is not zero, f[seeds, PARTS]."""
    parts = np.array_split(weights != 0, PARTS, axis=1)
    return np.stack([part.mean(axis=1) for part in parts], axis=1)


def histogram(weights, edges):
    """How many that are not zero lie between each two edges, int[seeds, BINS]."""
    return np.stack([np.histogram(one[one != 0], edges)[0] for one in weights])


def over_seeds(x, values):
    """A line of the means of values [seeds, points]."""
    low, high = values.min(axis=0), values.max(axis=0)
    return Curve(x, x, values.mean(axis=0), low, high, np.full(len(x), len(values)))


def picture(results):
    """Share kept along the model, and counts by value."""
    models = {result.case.series: final_weights(result.run.folder) for result in results.found}
    low, high = np.quantile(np.concatenate([*models.values()], axis=1), [0.0001, 0.9999])
    edges = np.linspace(low, high, BINS + 1)
    along, between = (np.arange(PARTS) + 0.5) / PARTS, (edges[1:] + edges[:-1]) / 2
    strips = {name: over_seeds(along, kept(one)) for name, one in models.items()}
    counts = {name: over_seeds(between, histogram(one, edges)) for name, one in models.items()}
    return charts.picture(
        results,
        [
            Chart("", Quantity("Place in the model", "%"), KEPT, "kept", strips),
            Chart("", Quantity("Value of a weight that is not zero"), COUNT, "weights", counts),
        ],
    )


REPRODUCTION = Reproduction(
    "fedsparsify_weights", "FedSparsify: masks and weights of the final models", cases, picture
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
