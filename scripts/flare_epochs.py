"""FLARE: accuracy by local epochs E, and by how many clients are available (7, 5 or 3 of 10).

python scripts/flare_epochs.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, flare
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.results.drawing import Quantity

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(FILES / "flare/smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc.toml")
EPOCHS = {"smoke": [1], "cpu": [1, 2, 4], "paper": [1, 8, 16, 32]}
WORKING = {"smoke": [2], "cpu": [3, 5, 7, 10], "paper": [3, 5, 7, 10]}
BY_EPOCHS, BY_CLIENTS = "local epochs", "available clients"


def cases(scale):
    """Two sweeps: over local epochs with all clients, over available clients with one epoch."""
    options, own = SETTINGS.options(scale), SETTINGS.hyper(scale)
    everyone = options["clients"]
    sweeps = {
        BY_EPOCHS: [(epochs, {"local_epochs": epochs}) for epochs in EPOCHS[scale]],
        BY_CLIENTS: [
            (some, {"participation": f"{some}-of-{everyone}"} if some < everyone else {})
            for some in WORKING[scale]
        ],
    }
    for panel, points in sweeps.items():
        for at, changed in points:
            yield from flare.three(options, own, panel=panel, at=at, **changed)


def picture(results):
    """A panel for each sweep."""
    epochs, clients = (
        charts.sweep(results.only(panel), Quantity(label))
        for panel, label in ((BY_EPOCHS, "Local epochs"), (BY_CLIENTS, "Available clients"))
    )
    return charts.picture(results, [*epochs, *clients])


REPRODUCTION = Reproduction(
    "flare_epochs", "FLARE: accuracy by local epochs and by available clients", cases, picture
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
