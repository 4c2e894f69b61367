"""SparsyFed, table 1: accuracy by sparsity, for clients that are alike and clients that differ.

python scripts/sparsyfed_accuracy.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import case, options_of
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, beats, points_apart, together
from fedjax_sparse.results.drawing import Quantity

FILES = Path(__file__).parents[1] / "experiments"
DATA = {  # what is trained on -> what its runs state
    "smoke": {"Digits": "smoke.toml"},
    "cpu": {"Fashion-MNIST": "sparsyfed/fashion_mnist_cpu.toml"},
    "paper": {
        "CIFAR-10": "sparsyfed/cifar10_a1_s95.toml",
        "CIFAR-100": "sparsyfed/cifar100_a1_s95.toml",
        "Speech Commands": "sparsyfed/speech_commands_a1_s95.toml",
    },
}
ALPHAS = {"smoke": [1.0], "cpu": [0.1], "paper": [1000.0, 1.0, 0.1]}
SPARSITIES = {"smoke": [0.95], "cpu": [0.95, 0.99], "paper": [0.9, 0.95, 0.99, 0.995, 0.999]}
RIVALS = {"Top-K": "topk-weights", "ZeroFL": "zerofl", "FLASH": "flash"}
HEADLINE = 0.95


def cases(scale):
    """Every method at every sparsity, and dense training across."""
    for data, file in DATA[scale].items():
        for alpha in ALPHAS[scale]:
            here = options_of(FILES / file, scale) | {"alpha": alpha}
            panel = f"{data}, Dirichlet {alpha:g}"
            yield case("dense", "fedavg", here, panel=panel)
            for sparsity in SPARSITIES[scale]:
                place = {"panel": panel, "at": sparsity, "sparsity": sparsity}
                yield case("SparsyFed", "sparsyfed", here, **place)
                for name, algorithm in RIVALS.items():
                    yield case(name, algorithm, here, **place)


def picture(results):
    """A panel for each data set and partition."""
    return charts.picture(results, charts.sweep(results, Quantity("Sparsity", "%")))


def judge(results):
    """At 95 %, in every panel: within a point of dense training, and above every rival."""
    return together(of_panel(results, panel) for panel in results.panels())


def of_panel(results, panel):
    """The verdict on one panel."""
    below, *ahead = (results.difference("SparsyFed", name, panel, HEADLINE) for name in ("dense", *RIVALS))
    rivals = beats(dict(zip(RIVALS, ahead, strict=True)))
    return Verdict(
        all_of([above(below, -0.01), rivals.holds]),
        f"{panel}: {points_apart(below)} dense, {rivals.measured}",
    )


REPRODUCTION = Reproduction(
    "sparsyfed_accuracy",
    "SparsyFed, table 1: accuracy by sparsity",
    cases,
    picture,
    "95 % sparse models lose little accuracy and outperform all baselines on heterogeneous clients",
    judge,
    published=(FILES / "published/sparsyfed.toml", "accuracy"),
    tuned={"cpu": FILES / "tuned/sparsyfed.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
