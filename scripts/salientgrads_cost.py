"""SalientGrads: accuracy and values sent by round, and accuracy by the time that clients communicate and by FLOPs.

    python scripts/salientgrads_cost.py --scale smoke --out runs/smoke

Clients have 20 Mbit/s up, 100 down and 10 ms one way, and processors that take no time (--network broadband-links).
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, salientgrads
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.salientgrads import DENSE, named
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, factor
from fedjax_sparse.results.reading import ACCURACY, CLIENT_ACCURACY, SECONDS
from fedjax_sparse.results.statistics import ratio

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "salientgrads/cifar10_cpu.toml",
    FILES / "salientgrads/cifar10_resnet18.toml",
)
SPARSITIES = {"smoke": [0.5], "cpu": [0.5, 0.8, 0.95], "paper": [0.5, 0.8, 0.95]}
PUBLISHED = FILES / "published/salientgrads.toml"
RIVALS = {"DisPFL": "dispfl", "Sub-FedAvg": "sub-fedavg"}


def cases(scale):
    """Dense training, SalientGrads at every sparsity, and its rivals at 50 %."""
    options, smoke = SETTINGS.options(scale), scale == "smoke"
    yield from salientgrads.dense(options, {"FedAvg": "fedavg"} if smoke else DENSE)
    for sparsity in SPARSITIES[scale]:
        yield from salientgrads.sparse(options, sparsity, {named("SalientGrads", sparsity): "salientgrads"})
    rivals = {"DisPFL": "dispfl"} if smoke else RIVALS
    yield from salientgrads.sparse(options, 0.5, {named(name, 0.5): rivals[name] for name in rivals})


def picture(results):
    """Accuracy on all test images and on clients' own, and values sent, by round; accuracy by time and by FLOPs."""
    by_round = charts.curves(results, "round", [ACCURACY, CLIENT_ACCURACY, "communicated_values"])
    return charts.picture(
        results, [*by_round, *charts.curves(results, SECONDS), *charts.curves(results, "flops")]
    )


def judge(results):
    """Whether the rounds of SalientGrads at 50 % take less time than FedAvg's, and so does FedAvg's accuracy."""
    names, target = ("FedAvg", named("SalientGrads", 0.5)), results.mean("FedAvg") - 0.01
    rounds = ratio(*(results.scores(name, column=SECONDS, last=1) for name in names))
    accuracy = ratio(*(results.costs_to_reach(name, target, SECONDS) for name in names))
    reached = not np.isnan(accuracy.mean)
    return Verdict(
        all_of([above(rounds, 1), above(accuracy, 1) if reached else False]),
        f"at 50 % all rounds communicate {factor(rounds)} faster than FedAvg's (published of SSFL: "
        f"{salientgrads.times_faster(PUBLISHED):g}), and {100 * target:.1f} %, a point below FedAvg's end, is reached "
        + (f"{factor(accuracy)} faster" if reached else "not by every seed"),
    )


REPRODUCTION = Reproduction(
    "salientgrads_cost",
    "SalientGrads: accuracy by round, by time of communication and by FLOPs",
    cases,
    picture,
    "sparse exchange improves wall-clock communication time",
    judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
