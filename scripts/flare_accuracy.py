"""FLARE: accuracy against rounds at one share of entries sent, beside the curves of the official logs.

python scripts/flare_accuracy.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, flare, published
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "flare/smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc_official.toml"
)
PUBLISHED = (FILES / "published/flare.toml", "fc")


def cases(scale):
    """FLARE, error correction and dense training."""
    return flare.three(SETTINGS.options(scale), SETTINGS.hyper(scale))


def picture(results):
    """Accuracy against rounds."""
    return charts.picture(results, charts.curves(results, "round"))


def judge(results):
    """As near to dense training as in the official logs at the last round that is in both, or within three points."""
    rounds = results.found[0].case.config.training.rounds
    logged = {line.series: line for line in published.read(*PUBLISHED).lines}
    below = [
        dense - own
        for x, dense, own in zip(
            logged[flare.DENSE].x, logged[flare.DENSE].y, logged[flare.FLARE].y, strict=True
        )
        if x <= rounds
    ]
    return flare.judge(results, max([0.03, *below[-1:]]))


REPRODUCTION = Reproduction(
    "flare_accuracy",
    "FLARE: accuracy against rounds",
    cases,
    picture,
    "FLARE trains at extreme sparsity almost as dense training does, where error correction stalls",
    judge,
    published=PUBLISHED,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
