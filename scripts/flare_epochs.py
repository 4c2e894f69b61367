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
SETTINGS = Settings(
    FILES / "flare/smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc_official.toml"
)
EPOCHS = {  # percent of each tensor that is sent, None for the settings' own -> local epochs
    "smoke": {None: [1], 10.0: [1]},
    "cpu": {None: [1, 2, 4]},
    "paper": {None: [1, 8, 16, 32], 0.0001: [1, 4, 8, 16]},
}
WORKING = {"smoke": [2], "cpu": [3, 5, 7, 10], "paper": [3, 5, 7, 10]}
BY_EPOCHS, BY_CLIENTS = "local epochs", "available clients"


def cases(scale):
    """Sweeps: over local epochs with all clients, at each share; over available clients with one epoch.

    The smoke scale compiles all three methods for the first of them alone.
    """
    for one in every_case(scale):
        if scale != "smoke" or one.panel == BY_EPOCHS or one.series == flare.FLARE:
            yield one


def every_case(scale):
    """Those of all methods."""
    options, own = SETTINGS.options(scale), SETTINGS.hyper(scale)
    everyone = options["clients"]
    for percent, epochs in EPOCHS[scale].items():
        hyper = flare.sending(own, percent) if percent else own
        panel = f"{BY_EPOCHS}, {percent:g} % sent" if percent else BY_EPOCHS
        for at in epochs:
            yield from flare.three(options, hyper, panel=panel, at=at, local_epochs=at)
    for at in WORKING[scale]:
        some = {"participation": f"{at}-of-{everyone}"} if at < everyone else {}
        yield from flare.three(options, own, panel=BY_CLIENTS, at=at, **some)


def picture(results):
    """A panel for each sweep."""
    by_panel = [
        charts.sweep(
            results.only(panel), Quantity("Available clients" if panel == BY_CLIENTS else "Local epochs")
        )
        for panel in results.panels()
    ]
    return charts.picture(results, [chart for some in by_panel for chart in some])


REPRODUCTION = Reproduction(
    "flare_epochs", "FLARE: accuracy by local epochs and by available clients", cases, picture
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
