"""SparsyFed: how far the server's masks agree between rounds, and the clients' within one, on heterogeneous clients.

python scripts/sparsyfed_masks.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.charts import Point
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict
from fedjax_sparse.results import overlaps

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml", FILES / "sparsyfed/fashion_mnist_cpu.toml", FILES / "sparsyfed/cifar10_a1_s95.toml"
)
SPARSITIES = {"smoke": [0.95], "cpu": [0.95], "paper": [0.9, 0.95, 0.99]}
TWO = {"SparsyFed": "sparsyfed", "Top-K": "topk-weights"}
THREE = TWO | {"ZeroFL": "zerofl"}
METHODS = {"smoke": TWO, "cpu": THREE, "paper": THREE}
OWN = {  # what masks are kept of; one seed each
    "smoke": {"eval_every": 1},
    "cpu": {"eval_every": 5},
    "paper": {"eval_every": 10, "rounds": 500},
}
SETTLED = 0.2  # of the rounds, after which SparsyFed's masks are said to stay


def cases(scale):
    """Methods at every sparsity, with masks, for clients of Dirichlet 0.1."""
    options = {**SETTINGS.options(scale), "alpha": 0.1, "seeds": 1, "keep_masks": True, **OWN[scale]}
    for sparsity in SPARSITIES[scale]:
        for name, algorithm in METHODS[scale].items():
            yield case(
                name, algorithm, options, panel=f"{100 * sparsity:g} %", sparsity=sparsity, log_masks=True
            )


def settled(result):
    """Mean agreement of the server's masks of two rounds, both after a fifth of the run."""
    rounds = overlaps.between_rounds(result.run)
    return float("nan") if rounds is None else overlaps.agreement(rounds, after=SETTLED)


def of_clients(result):
    """Round -> mean agreement of the masks that two clients sent, for the rounds of which there are maps."""
    for one in overlaps.between_clients(result.run):
        apart = one.iou[~np.eye(len(one.iou), dtype=bool)]
        yield float(one.title.removeprefix("clients, round ")), float(np.mean(apart))


def picture(results):
    """Maps of rounds, then of clients; mean agreements, of late masks and of clients', are numbers without a line."""
    drawn = charts.mask_overlaps(results)
    late = [
        Point(one.case.panel, one.case.series, "late_mask_iou", SETTLED, value, value, value, 1)
        for one in results.found
        for value in [settled(one)]
    ]
    between = [
        Point(one.case.panel, one.case.series, "client_mask_iou", at, value, value, value, 1)
        for one in results.found
        for at, value in of_clients(one)
        if np.isfinite(value)
    ]
    return drawn._replace(points=[*late, *between, *drawn.points])


def judge(results):
    """Whether late masks of SparsyFed agree more than those of its rivals, at every sparsity."""
    holds, said = True, []
    for panel in results.panels():
        late = {name: settled(some[0]) for name, some in results.by_series(panel).items()}
        holds &= late["SparsyFed"] == max(late.values())
        said.append(f"{panel}: " + ", ".join(f"{name} {value:.2f}" for name, value in late.items()))
    return Verdict(
        holds, "mean agreement of the masks of two rounds after a fifth of the run is, at " + "; ".join(said)
    )


REPRODUCTION = Reproduction(
    "sparsyfed_masks",
    "SparsyFed: agreement of masks between rounds and between clients",
    cases,
    picture,
    "masks settle early and stay, where those of previous methods keep changing",
    judge,
    published=(FILES / "published/sparsyfed.toml", "late_masks"),
    tuned={"cpu": FILES / "tuned/sparsyfed.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
