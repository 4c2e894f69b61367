"""FLARE: accuracy against rounds for its CNN, its VGGs and its GRU, at a thousandth of a percent of entries sent.

    python scripts/flare_networks.py --scale smoke --out runs/smoke

At the cpu scale the CNN sees a third of the images, the GRU is an eighth as wide and makes 10 steps a round, and there
is no VGG, of which a round takes minutes there. Smoke has the perceptron of FLARE's other figures.
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction, Verdict, points_apart

FILES = Path(__file__).parents[1] / "experiments/flare"
CNN, GRU = "CNN, MNIST", "GRU, Shakespeare"
PAPER = {
    CNN: "mnist_cnn",
    "VGG-11, CIFAR-10": "cifar10_vgg11",
    "VGG-16, CIFAR-10": "cifar10_vgg16",
    "VGG-19, CIFAR-10": "cifar10_vgg19",
    GRU: "shakespeare_gru",
}
PANELS = {
    "smoke": {"Perceptron, digits": "smoke"},
    "cpu": {name: PAPER[name] for name in (CNN, GRU)},
    "paper": PAPER,
}
SMALLER = {  # what the cpu scale changes
    CNN: {"train_examples": 2000, "batch_size": 200, "rounds": 100, "eval_every": 5},
    GRU: {"model": "gru:embedding=32,hidden=128", "local_steps": 10, "rounds": 60, "eval_every": 10},
}


def cases(scale):
    """FLARE, error correction and dense training of every network."""
    for panel, name in PANELS[scale].items():
        settings = Settings(*[FILES / f"{name}.toml"] * 3)
        options, own = settings.options(scale), settings.hyper(scale)
        here = {"panel": panel, **(SMALLER[panel] if scale == "cpu" else {})}
        yield case("dense", "fedavg", options, **here)
        yield case("FLARE", "flare", options, **here, **own)
        yield case("error correction", "error-correction", options, **here, keep_percent=own["keep_percent"])


def picture(results):
    """Accuracy against rounds, a panel for each network."""
    return charts.picture(results, charts.curves(results, "round"))


def judge(results):
    """In every panel: above error correction by more than ten points, and within three of dense training."""
    holds, said = True, []
    for panel in results.panels():
        ahead, below = (
            results.difference("FLARE", other, panel, last=1) for other in ("error correction", "dense")
        )
        holds &= ahead.mean > 0.1 and below.mean > -0.03
        said.append(
            f"{panel}: {points_apart(ahead)} error correction and {points_apart(below)} dense training"
        )
    return Verdict(bool(holds), "FLARE ends, " + "; ".join(said))


REPRODUCTION = Reproduction(
    "flare_networks",
    "FLARE: accuracy against rounds of its other networks",
    cases,
    picture,
    "FLARE trains at extreme sparsity almost as dense training does, whatever the network",
    judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
