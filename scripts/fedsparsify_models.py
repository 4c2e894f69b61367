"""FedSparsify: the models that come out, sparse against dense: accuracy, file, values sent, and time of a batch.

    python scripts/fedsparsify_models.py --scale smoke --out runs/smoke

The file is that of `export --format sparse`. A batch of 32 is computed by NumPy where kernels are dense, and by SciPy,
as compressed sparse rows, where most of their weights are zero.
"""

import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.sparse

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, fedsparsify, inference
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.fedsparsify import SYSTEM, TENTH
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, factor
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.reading import ACCURACY
from fedjax_sparse.results.statistics import ratio

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "fedsparsify/fashion_mnist_cpu.toml",
    FILES / "fedsparsify/fashion_mnist.toml",
)
SPARSITIES = {"smoke": [0.9], "cpu": [0.9, 0.95, 0.99], "paper": [0.8, 0.85, 0.9, 0.95, 0.99]}
BATCH = 32
FILE, TIME, SENT = "file_bytes", "batch_microseconds", "communicated_values"


def cases(scale):
    """FedAvg across, and FedSparsify at every sparsity."""
    options = SETTINGS.options(scale)
    yield from fedsparsify.dense(options, {"FedAvg": "fedavg"})
    for sparsity in SPARSITIES[scale]:
        yield from fedsparsify.sparse(options, sparsity, SYSTEM, at=sparsity)


def with_models(results):
    """The results with what each seed's last model takes, as columns."""

    def one(result):
        taken = deployed(result.run.folder)
        seeds = {
            seed: columns
            | {name: np.full(len(columns["round"]), value) for name, value in taken[seed].items()}
            for seed, columns in result.outcome.seeds.items()
        }
        return result._replace(outcome=result.outcome._replace(seeds=seeds))

    return results._replace(found=[one(result) for result in results.found])


@cache  # the figure and the verdict are of the same measurement
def deployed(folder):
    """Seed of a run -> bytes of its model's file, and microseconds of a batch."""
    from fedjax_sparse import load_run

    run = load_run(folder)
    return {seed: measured(run.model("last", seed)) for seed in run.seeds}


def measured(model):
    """Bytes of the model's file, and microseconds of a batch."""
    from fedjax_sparse import save_model

    with TemporaryDirectory() as folder:
        saved = save_model(model, Path(folder) / "model.sparse")
    params = model.variables.params
    layers = [
        (np.asarray(params[name]["kernel"]), np.asarray(params[name]["bias"])) for name in sorted(params)
    ]
    form = scipy.sparse.csr_array if 2 * saved.zeros > saved.parameters else np.ascontiguousarray
    x = np.random.default_rng(0).normal(size=(BATCH, len(layers[0][0]))).astype(np.float32)
    return {FILE: saved.file_bytes, TIME: 1e6 * inference.batch_seconds(layers, x, form)}


def picture(results):
    """Accuracy, file, values sent and time, over sparsity."""
    found = with_models(results)
    sparsity = Quantity("Sparsity", "%")
    taken = [chart for y in (FILE, SENT, TIME) for chart in charts.sweep(found, sparsity, y, last=1)]
    return charts.picture(found, [*charts.sweep(found, sparsity, ACCURACY), *taken])


def judge(results):
    """Whether the model of FedSparsify-Global at 90 % is smaller and faster than FedAvg's."""
    found = with_models(results)
    smaller, faster = (
        ratio(
            *(
                found.scores(name, at=TENTH, column=column, last=1)
                for name in ("FedAvg", "FedSparsify-Global")
            )
        )
        for column in (FILE, TIME)
    )
    return Verdict(
        all_of([above(smaller, 1), above(faster, 1)]),
        f"at 90 % its file is {factor(smaller)} smaller, and a batch is predicted {factor(faster)} as fast",
    )


REPRODUCTION = Reproduction(
    "fedsparsify_models",
    "FedSparsify: sparse and dense models",
    cases,
    picture,
    "the final model is smaller and faster",
    judge,
    published=(FILES / "published/fedsparsify.toml", "values"),
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
