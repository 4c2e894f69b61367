"""FLARE: accuracy against rounds at one share of entries sent, beside the curves of the official logs.

python scripts/flare_accuracy.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, flare
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "flare/smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc_official.toml"
)


def cases(scale):
    """FLARE, error correction and dense training."""
    return flare.three(SETTINGS.options(scale), SETTINGS.hyper(scale))


def picture(results):
    """Accuracy against rounds."""
    return charts.picture(results, charts.curves(results, "round"))


REPRODUCTION = Reproduction(
    "flare_accuracy",
    "FLARE: accuracy against rounds",
    cases,
    picture,
    "FLARE trains at extreme sparsity almost as dense training does, where error correction stalls",
    flare.judge,
    published=(FILES / "published/flare.toml", "fc"),
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
