"""FedSparsify: sparsity along its schedule, and accuracy, by exponent n and by f, rounds between two prunings.

python scripts/fedsparsify_schedule.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.results.reading import ACCURACY

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "fedsparsify/fashion_mnist_cpu.toml",
    FILES / "fedsparsify/fashion_mnist_2classes.toml",
)
SPARSITY = 0.95
EXPONENTS = {"smoke": [1, 3], "cpu": [1, 3, 12], "paper": [1, 3, 6, 12]}
FREQUENCIES = {"smoke": [2], "cpu": [1, 10], "paper": [1, 2, 5, 10, 15, 20]}


def cases(scale):
    """FedSparsify-Global with every exponent and frequency."""
    options = SETTINGS.options(scale)
    for frequency in FREQUENCIES[scale]:
        panel = f"T = {options['rounds']} rounds, f = {frequency}"
        for exponent in EXPONENTS[scale]:
            own = {"sparsity": SPARSITY, "frequency": frequency, "exponent": exponent}
            yield case(f"n = {exponent}", "fedsparsify-global", options, panel=panel, **own)


def picture(results):
    """Sparsity and accuracy by round, side by side for each frequency."""
    found = results.with_column("sparsity", lambda columns, case: 1 - columns["density"])
    return charts.picture(found, charts.curves(found, "round", ["sparsity", ACCURACY]))


REPRODUCTION = Reproduction(
    "fedsparsify_schedule",
    "FedSparsify: the schedule of sparsity, s_t = 0.95 (1 - (1 - (tau - 1) / (T - 1))^n), tau = f floor(t / f)",
    cases,
    picture,
    published=(FILES / "published/fedsparsify.toml", "schedule"),
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
