"""Sparse-ProxSkip: f - f* and the mean control variate against communications, for logistic regression on a9a and w8a.

    python scripts/proxskip_convex.py --scale smoke --out runs/smoke

Clients hold rows of one label, mostly. f is the clients' mean loss plus l2/2 |w|^2, f* its minimum over dense weights:
no sparse model reaches it. All methods prune to the same sparsity.
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, convex
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.proxskip import CLIENTS, MODIFIED, NAIVE, SERVER
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, times, together

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "sparse_proxskip/logistic_smoke.toml",
    FILES / "sparse_proxskip/a9a_cpu.toml",
    FILES / "sparse_proxskip/a9a_sparse_proxskip.toml",
)
# Step 1 / L and l2 = L / 1,000 or, as published for ProxSkip, L / 10,000, L the largest curvature of a client.
DATA = {
    "smoke": {"synthetic/logistic": {}},
    "cpu": {"a9a": {}, "w8a": {"dataset": "w8a", "client_lr": 0.7158, "weight_decay": 0.0013967}},
    "paper": {"a9a": {}, "w8a": {"dataset": "w8a", "client_lr": 0.7158, "weight_decay": 0.00013967}},
}
SPARSITY = 0.9
DENSE = {"ProxSkip, dense": "scaffnew", "local SGD, dense": "fedavg"}
GAP, SMALLEST = "suboptimality", 1e-15  # nearer to f* than rounding


def cases(scale):
    """Dense ProxSkip and local SGD of as many steps; ProxSkip pruned by the clients, and by the server."""
    options = SETTINGS.options(scale) | {"objective": True}
    for panel, own in DATA[scale].items():
        here = {**options, **own}
        yield case("ProxSkip, dense", "scaffnew", here, panel=panel, probability=0.05)
        yield case("local SGD, dense", "fedavg", here, panel=panel, local_steps=20)
        for name, algorithm in (CLIENTS | SERVER).items():
            yield case(name, algorithm, here, panel=panel, probability=0.05, sparsity=SPARSITY)


def with_gap(results):
    """The results with f - f*, whose f* each data set has its own."""
    problems = {r.case.panel: r.case.config for r in results.found}
    minima = {panel: convex.minimum(config) for panel, config in problems.items()}
    return results.with_column(
        GAP, lambda columns, case: np.maximum(columns["objective"] - minima[case.panel], SMALLEST)
    )


def picture(results):
    """For each data set: f - f*, and below it the norm of the mean control variate."""
    found = with_gap(results)
    return charts.picture(found, charts.curves(found, "round", [GAP, "control_mean"]))


def judge(results):
    """Whether clients that prune come nearer to the optimum than a server that does, and keep their sum at zero."""
    found = with_gap(results)
    return together(of_panel(found, panel) for panel in found.panels())


def of_panel(found, panel):
    """The verdict on one data set."""
    gap, drift = (
        {name: found.mean(name, panel, column=column) for name in CLIENTS | SERVER}
        for column in (GAP, "control_mean")
    )
    best = min(CLIENTS, key=lambda name: gap[name])
    naive, own = (found.scores(name, panel, column="control_mean") for name in (NAIVE, best))
    return Verdict(
        all_of([above(found.difference(NAIVE, best, panel, column=GAP)), times(naive, own, 1000)]),
        f"{panel}: f − f* is {gap[best]:.3g} {best}, {gap[MODIFIED]:.3g} {MODIFIED}, and {gap[NAIVE]:.3g} {NAIVE}, "
        f"whose control variates have a mean of norm {drift[NAIVE]:.2g} in place of {drift[best]:.1g}",
    )


REPRODUCTION = Reproduction(
    "proxskip_convex",
    "Sparse-ProxSkip: f - f* against communications, and the control variates",
    cases,
    picture,
    "acceleration with pruning at the server fails, and pruning at the clients repairs it",
    judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
