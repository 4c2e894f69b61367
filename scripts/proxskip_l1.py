"""Sparse-ProxSkip, figure 2: against RandProx, whose l1 norm makes models sparse; accuracy by the sparsity reached.

    python scripts/proxskip_l1.py --scale smoke --out runs/smoke

RandProx is told a weight of the l1 norm, not a sparsity: each of its runs stands where it ended.
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.sparsities import reached
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, points_apart
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.statistics import paired

FILES = Path(__file__).parents[1] / "experiments/sparse_proxskip"
SETTINGS = Settings(FILES / "smoke.toml", FILES / "mnist_cpu.toml", FILES / "cifar10_cnn.toml")
SPARSITIES = {"smoke": [0.9], "cpu": [0.5, 0.9, 0.99], "paper": [0.5, 0.7, 0.9, 0.95, 0.98, 0.99]}
WEIGHTS = {"smoke": [0.03], "cpu": [3e-3, 1e-2, 3e-2], "paper": [3e-5, 1e-4, 3e-4, 1e-3, 3e-3]}
CLIENTS, RANDPROX = "pruned by clients", "RandProx, l1 norm"


def cases(scale):
    """Pruning by clients to every sparsity, RandProx with every weight, and dense ProxSkip across."""
    options, probability = SETTINGS.options(scale), SETTINGS.hyper(scale)["probability"]
    yield case("ProxSkip, dense", "scaffnew", options, probability=probability)
    for sparsity in SPARSITIES[scale]:
        own = {"sparsity": sparsity, "probability": probability}
        yield case(CLIENTS, "sparse-proxskip", options, at=sparsity, **own)
    for weight in WEIGHTS[scale]:
        yield case(RANDPROX, "randprox-l1", options, at=weight, l1=weight, probability=probability)


def picture(results):
    """Accuracy over the sparsity reached."""
    found = results.placed(reached)
    return charts.picture(found, charts.sweep(found, Quantity("Sparsity reached", "%", "zero")))


def judge(results):
    """Whether pruning by clients, read between its points, is above every run of RandProx as sparse as those."""
    own, rivals = ({reached(one): one for one in results.by_series("")[name]} for name in (CLIENTS, RANDPROX))
    ahead = {
        at: ahead_of(results, rival, own, at) for at, rival in rivals.items() if min(own) <= at <= max(own)
    }
    if not ahead:
        ended = ", ".join(f"{100 * at:.1f} %" for at in rivals)
        return Verdict(None, f"no run of RandProx is as sparse as the pruned ones: {ended}")
    said = ", ".join(f"{points_apart(by)} it at {100 * at:.1f} %" for at, by in ahead.items())
    return Verdict(
        all_of(map(above, ahead.values())), f"beside RandProx, pruning by clients is {said} sparsity"
    )


def ahead_of(results, rival, own, at):
    """Accuracy of pruning by clients, read between its runs seed by seed, less that of a run of RandProx."""
    places = sorted(own)
    by_seed = [results.scores(CLIENTS, at=own[place].case.at) for place in places]
    between = {
        seed: float(np.interp(at, places, [scores[seed] for scores in by_seed])) for seed in by_seed[0]
    }
    return paired(between, results.scores(RANDPROX, at=rival.case.at))


REPRODUCTION = Reproduction(
    "proxskip_l1",
    "Sparse-ProxSkip, figure 2: against RandProx with an l1 norm",
    cases,
    picture,
    "pruning by clients is ahead of RandProx with an l1 norm",
    judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
