"""FLARE: the norm of what clients have not sent, against rounds: how stale their residuals are.

python scripts/flare_residuals.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, flare
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "flare/smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc_official.toml"
)


def cases(scale):
    """FLARE, error correction and EF21 at one share of entries sent."""
    options, own = SETTINGS.options(scale), SETTINGS.hyper(scale)
    yield case("FLARE", "flare", options, **own)
    for name, algorithm in {"error correction": "error-correction", "EF21": "ef21"}.items():
        yield case(name, algorithm, options, **flare.sent(own))


def picture(results):
    """The mean norm of clients' residuals against rounds; EF21 remembers what the server knows instead."""
    return charts.picture(results, charts.curves(results, "round", ["memory_norm"]))


REPRODUCTION = Reproduction("flare_residuals", "FLARE: residual norms against rounds", cases, picture)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
