"""SalientGrads: how long clients communicate, and how many values they send, by sparsity.

    python scripts/salientgrads_time.py --scale smoke --out runs/smoke

Clients have 20 Mbit/s up, 100 down and 10 ms one way, and processors that take no time (--network broadband-links).
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, salientgrads, sparsities
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.reading import SECONDS

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "salientgrads/cifar10_cpu.toml",
    FILES / "salientgrads/cifar10_resnet18.toml",
)
SPARSITIES = {"smoke": [0.5], "cpu": [0.5, 0.8, 0.95], "paper": [0.5, 0.7, 0.8, 0.9, 0.95]}


def cases(scale):
    """FedAvg across, and SalientGrads at every sparsity; where affordable, methods that send masks of their own."""
    options = SETTINGS.options(scale)
    rivals = {"DisPFL": "dispfl"} | ({} if scale == "smoke" else {"Sub-FedAvg": "sub-fedavg"})
    yield from salientgrads.dense(options, {"FedAvg": "fedavg"})
    for sparsity in SPARSITIES[scale]:
        names = {"SalientGrads": "salientgrads"} | salientgrads.affordable(rivals, scale, sparsity)
        yield from salientgrads.sparse(options, sparsity, names, at=sparsity)


def picture(results):
    """Time and values of the whole run, that of the preparation included."""
    sparsity = Quantity("Sparsity", "%")
    totals, found = (SECONDS, "communicated_values"), sparsities.placed(results)
    return charts.picture(
        found, [chart for y in totals for chart in charts.sweep(found, sparsity, y, last=1)]
    )


REPRODUCTION = Reproduction(
    "salientgrads_time", "SalientGrads: time of communication by sparsity", cases, picture
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
