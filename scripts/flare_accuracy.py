"""FLARE: accuracy against rounds at one share of entries sent, beside the curves of the official logs.

python scripts/flare_accuracy.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction, Verdict, points_apart

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(FILES / "flare/smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc.toml")


def cases(scale):
    """FLARE, error correction and dense training."""
    options, own = SETTINGS.options(scale), SETTINGS.hyper(scale)
    yield case("dense", "fedavg", options)
    yield case("FLARE", "flare", options, **own)
    yield case("error correction", "error-correction", options, keep_percent=own["keep_percent"])


def picture(results):
    """Accuracy against rounds."""
    return charts.picture(results, charts.curves(results, "round"))


def judge(results):
    """Above error correction by more than ten points, and within three of dense training."""
    ahead = results.difference("FLARE", "error correction", last=1)
    below = results.difference("FLARE", "dense", last=1)
    said = f"FLARE ends {points_apart(ahead)} error correction and {points_apart(below)} dense training"
    return Verdict(bool(ahead.mean > 0.1 and below.mean > -0.03), said)


REPRODUCTION = Reproduction(
    "flare_accuracy",
    "FLARE: accuracy against rounds",
    cases,
    picture,
    "FLARE trains at extreme sparsity almost as dense training does, where error correction stalls",
    judge,
    published=(FILES / "published/flare.toml", "fc"),
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
