"""SparsyFed, figure 6: how sparse the mean of the clients' models is by round, as a sign of their consensus.

python scripts/sparsyfed_sparsity.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.config import run_config
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, points_apart, together
from fedjax_sparse.results.statistics import paired

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml", FILES / "sparsyfed/fashion_mnist_cpu.toml", FILES / "sparsyfed/cifar10_a1_s95.toml"
)
METHODS = {"SparsyFed": "sparsyfed", "Top-K": "topk-weights", "ZeroFL": "zerofl"}
ALPHAS = {"smoke": [1.0], "cpu": [0.1], "paper": [1000.0, 1.0, 0.1]}
# Smoke and cpu have the runs of sparsyfed_regrowth; the published rounds are single ones.
SPARSITY = {"smoke": 0.95, "cpu": 0.95, "paper": 0.9}
# How far below clients' own sparsity a mean may be to stay as sparse, which the authors say of theirs from round 5 on;
# and from where on it fills up: the authors' rivals come to 7 and 43 points.
STAYS, FILLS = 0.005, 0.01
OWN = {"smoke": {}, "cpu": {}, "paper": {"dataset": "cifar100", "eval_every": 1}}


def cases(scale):
    """Three methods, for clients that are alike and clients that differ."""
    options, sparsity = SETTINGS.options(scale) | OWN[scale], SPARSITY[scale]
    for alpha in ALPHAS[scale]:
        panel = f"Dirichlet {alpha:g}, target {100 * sparsity:g} %"
        for name, algorithm in METHODS.items():
            yield case(name, algorithm, options | {"alpha": alpha}, panel=panel, sparsity=sparsity)


def with_sparsity(results):
    """The results with the zeros among all parameters of the server's model, as a fraction, from round 1 on.

    Before that it is dense: a line from there to the first evaluated round would be none that was measured.
    """
    return results.with_column(
        "server_sparsity",
        lambda columns, case: np.where(columns["round"] > 0, 1 - columns["server_density"], np.nan),
    )


def picture(results):
    """Sparsity against rounds, and what was asked of the clients."""
    drawn = charts.curves(with_sparsity(results), "round", ["server_sparsity"])
    asked = {one.case.panel: run_config.values(one.case.config)["sparsity"] for one in results.found}
    return charts.picture(results, [chart._replace(target=asked[chart.panel]) for chart in drawn])


def judge(results):
    """Whether SparsyFed's mean stays as sparse as clients prune, and those of all rivals fill up."""
    return together(of_panel(results, panel) for panel in results.panels())


def of_panel(results, panel):
    """The verdict on one panel, of means over rounds."""
    densities = {
        name: [results.scores(name, panel, column=of, last=10**9) for of in ("density", "server_density")]
        for name in METHODS
    }
    said = ", ".join(f"{points_apart(paired(*both))} in {name}" for name, both in densities.items())
    stays = above(paired(*densities.pop("SparsyFed")), -STAYS)
    fill = [above(paired(server, clients), FILLS) for clients, server in densities.values()]
    return Verdict(
        all_of([stays, *fill]),
        f"{panel}: over all rounds the mean model's sparsity is, beside that of a model as clients prune it, {said}",
    )


REPRODUCTION = Reproduction(
    "sparsyfed_sparsity",
    "SparsyFed, figure 6: sparsity of the server's model by round",
    cases,
    picture,
    "the clients' masks agree, so that their mean stays as sparse as they are, where rivals' fills up",
    judge,
    published=(FILES / "published/sparsyfed.toml", "sparsity"),
    tuned={"cpu": FILES / "tuned/sparsyfed.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
