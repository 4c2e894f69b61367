"""Sparse-ProxSkip on networks: accuracy by sparsity, pruned by the clients and by the server.

python scripts/proxskip_accuracy.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, proxskip
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, beats, points_apart, together
from fedjax_sparse.results.drawing import Quantity

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "sparse_proxskip/smoke.toml",
    FILES / "sparse_proxskip/mnist_cpu.toml",
    FILES / "sparse_proxskip/cifar10_cnn.toml",
)
SPARSITIES = {"smoke": [0.9], "cpu": [0.9, 0.99], "paper": [0.5, 0.7, 0.9, 0.95, 0.98, 0.99]}


def cases(scale):
    """Every variant at every sparsity, and dense ProxSkip across."""
    options = SETTINGS.options(scale)
    steps = round(1 / SETTINGS.hyper(scale)["probability"])
    yield proxskip.dense(options, steps)
    for sparsity in SPARSITIES[scale]:
        yield from proxskip.sparse(options, steps, sparsity, at=sparsity)


def picture(results):
    """Accuracy over sparsity."""
    return charts.picture(results, charts.sweep(results, Quantity("Sparsity", "%")))


def judge(results):
    """At every sparsity: whether the better of the client variants is above all others that prune."""
    sparsities = sorted({result.case.at for result in results.found if result.case.at})
    return together(at_sparsity(results, at) for at in sparsities)


def at_sparsity(results, at):
    """The verdict at one sparsity."""
    best = max(proxskip.CLIENTS, key=lambda name: results.mean(name, at=at))
    naive, *others = (
        results.difference(best, name, at=at) for name in (proxskip.NAIVE, proxskip.MODIFIED, proxskip.FEDAVG)
    )
    best_of = beats(dict(zip(("the modified server", "FedAvg so pruned"), others, strict=True)))
    return Verdict(
        all_of([above(naive), best_of.holds]),
        f"at {100 * at:g} %, {best}: {points_apart(naive)} the naive server, {best_of.measured}",
    )


REPRODUCTION = Reproduction(
    "proxskip_accuracy",
    "Sparse-ProxSkip on networks: accuracy by sparsity",
    cases,
    picture,
    "pruning at the server fails, pruning at the clients performs best",
    judge,
    tuned={"cpu": FILES / "tuned/proxskip.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
