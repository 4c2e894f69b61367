"""SparsyFed: weights that grow back in a round, by round, and how far the masks of consecutive rounds agree.

python scripts/sparsyfed_regrowth.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, all_of, times, together

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml", FILES / "sparsyfed/fashion_mnist_cpu.toml", FILES / "sparsyfed/cifar10_a1_s95.toml"
)
SPARSITY = 0.95
METHODS = {"SparsyFed": "sparsyfed", "Top-K": "topk-weights", "ZeroFL": "zerofl"}
ALPHAS = {"smoke": [1.0], "cpu": [0.1], "paper": [1000.0, 1.0, 0.1]}
DATA = {"smoke": {}, "cpu": {}, "paper": {"dataset": "cifar100"}}
LATE = 0.5  # of the rounds


def cases(scale):
    """Three methods at 95 %, for clients that are alike and clients that differ."""
    options = SETTINGS.options(scale) | DATA[scale]
    for alpha in ALPHAS[scale]:
        for name, algorithm in METHODS.items():
            yield case(
                name, algorithm, options | {"alpha": alpha}, panel=f"Dirichlet {alpha:g}", sparsity=SPARSITY
            )


def picture(results):
    """Regrowth on a logarithmic axis, and the IoU of the server's mask with that of the round before."""
    return charts.picture(results, charts.curves(results, "round", ["regrowth", "mask_iou_rounds"]))


def judge(results):
    """Whether every rival regrows 200 times as many weights in the later half of the rounds, in every panel."""
    return together(of_panel(results, panel) for panel in results.panels())


def of_panel(results, panel):
    """The verdict on one panel."""
    last = round(LATE * results.found[0].case.config.training.rounds)
    own, *others = (results.scores(name, panel, column="regrowth", last=last) for name in METHODS)
    rivals = dict(zip([*METHODS][1:], others, strict=True))
    means = {name: np.mean([*of.values()]) / max(np.mean([*own.values()]), 1) for name, of in rivals.items()}
    said = " and ".join(f"{by:.3g} times that of SparsyFed in {name}" for name, by in means.items())
    return Verdict(
        all_of(times(of, own, 200) for of in rivals.values()),
        f"{panel}: regrowth in the later half of the rounds is {said}",
    )


REPRODUCTION = Reproduction(
    "sparsyfed_regrowth",
    "SparsyFed: weight regrowth and agreement of masks by round",
    cases,
    picture,
    "weight regrowth per round is 200 times smaller than in previous methods",
    judge,
    published=(FILES / "published/sparsyfed.toml", "regrowth"),
    tuned={"cpu": FILES / "tuned/sparsyfed.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
