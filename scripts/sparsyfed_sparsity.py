"""SparsyFed, figure 6: how sparse the mean of the clients' models is by round, as a sign of their consensus.

python scripts/sparsyfed_sparsity.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction, Verdict

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml", FILES / "sparsyfed/fashion_mnist_cpu.toml", FILES / "sparsyfed/cifar10_a1_s95.toml"
)
METHODS = {"SparsyFed": "sparsyfed", "Top-K": "topk-weights", "ZeroFL": "zerofl"}
ALPHAS = {"smoke": [1.0], "cpu": [0.1], "paper": [1000.0, 1.0, 0.1]}
# Smoke and cpu have the runs of sparsyfed_regrowth; the published rounds are single ones.
SPARSITY = {"smoke": 0.95, "cpu": 0.95, "paper": 0.9}
OWN = {"smoke": {}, "cpu": {}, "paper": {"dataset": "cifar100", "eval_every": 1}}


def cases(scale):
    """Three methods, for clients that are alike and clients that differ."""
    options, sparsity = SETTINGS.options(scale) | OWN[scale], SPARSITY[scale]
    for alpha in ALPHAS[scale]:
        panel = f"Dirichlet {alpha:g}, target {100 * sparsity:g} %"
        for name, algorithm in METHODS.items():
            yield case(name, algorithm, options | {"alpha": alpha}, panel=panel, sparsity=sparsity)


def with_sparsity(results):
    """The results with the zeros among all parameters of the server's model, as a fraction."""
    return results.with_column("server_sparsity", lambda columns, case: 1 - columns["server_density"])


def picture(results):
    """Sparsity against rounds."""
    return charts.picture(results, charts.curves(with_sparsity(results), "round", ["server_sparsity"]))


def judge(results):
    """Whether SparsyFed's mean over the rounds is nearer to what was asked for than that of any rival."""
    found, holds, said = with_sparsity(results), True, []
    for panel in found.panels():
        mean = {name: found.mean(name, panel, column="server_sparsity", last=10**9) for name in METHODS}
        holds &= mean["SparsyFed"] == max(mean.values())
        said.append(f"{panel}: " + ", ".join(f"{name} {100 * value:.1f} %" for name, value in mean.items()))
    return Verdict(holds, "the mean model's sparsity, averaged over rounds, is, at " + "; ".join(said))


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
