"""FLARE: accuracy against rounds for its CNN, its VGGs and its GRU, at a thousandth of a percent of entries sent.

    python scripts/flare_networks.py --scale smoke --out runs/smoke

At the cpu scale the CNN sees a third of the images. The GRU is an eighth as wide and makes 10 steps a round, at a rate
of 1, for in 600 steps at the published one it learns nothing but the most frequent character; it sends ten times the
share, 0.01 %, a dozen entries. There is no VGG, of which a round takes minutes there. Smoke has the perceptron of
FLARE's other figures.
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, flare
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction

FILES = Path(__file__).parents[1] / "experiments/flare"
CNN, GRU = "CNN, MNIST", "GRU, Shakespeare"
PANELS = {
    "smoke": {"Perceptron, digits": "smoke"},
    "cpu": {CNN: "mnist_cnn", GRU: "shakespeare_gru"},
    "paper": {
        CNN: "mnist_cnn_official",
        "VGG-11, CIFAR-10": "cifar10_vgg11_official",
        "VGG-16, CIFAR-10": "cifar10_vgg16_official",
        "VGG-19, CIFAR-10": "cifar10_vgg19_official",
        GRU: "shakespeare_gru_official",
    },
}
SMALLER = {  # what the cpu scale changes
    CNN: {"train_examples": 2000, "batch_size": 200, "rounds": 100, "eval_every": 5},
    GRU: {
        "model": "gru:embedding=32,hidden=128",
        "local_steps": 10,
        "client_lr": 1.0,
        "rounds": 60,
        "eval_every": 10,
    },
}
SENT = {CNN: 0.001, GRU: 0.01}  # in percent, at the cpu scale


def cases(scale):
    """FLARE, error correction and dense training of every network."""
    for panel, name in PANELS[scale].items():
        settings = Settings(*[FILES / f"{name}.toml"] * 3)
        options, hyper, smaller = settings.options(scale), settings.hyper(scale), {}
        if scale == "cpu":
            smaller, hyper = SMALLER[panel], flare.sending(hyper, SENT[panel])
        yield from flare.three(options, hyper, panel=panel, **smaller)


def picture(results):
    """Accuracy against rounds, a panel for each network."""
    return charts.picture(results, charts.curves(results, "round"))


REPRODUCTION = Reproduction(
    "flare_networks",
    "FLARE: accuracy against rounds of its other networks",
    cases,
    picture,
    "FLARE trains at extreme sparsity almost as dense training does, whatever the network",
    flare.judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
