"""SalientGrads: accuracy by sparsity, on all test images and on clients' own, against sparse and personal methods.

python scripts/salientgrads_accuracy.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, salientgrads
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction, Verdict, points_apart
from fedjax_sparse.reproduction.salientgrads import DENSE, RIVALS, SYSTEM
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.reading import ACCURACY, CLIENT_ACCURACY

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "salientgrads/cifar10_cpu.toml",
    FILES / "salientgrads/cifar10_resnet18.toml",
)
DATA = {
    "smoke": {"Digits": {}},
    "cpu": {"CIFAR-10": {}},
    "paper": {"CIFAR-10": {}, "CIFAR-100": {"dataset": "cifar100"}},
}
SPARSITIES = {"smoke": [0.5], "cpu": [0.5, 0.8], "paper": [0.5, 0.7, 0.8, 0.9, 0.95]}
JUDGED = (0.5, 0.8)


def cases(scale):
    """Dense training across, and every method at every sparsity, rivals where they are affordable."""
    smoke = scale == "smoke"  # which compiles few methods
    for panel, own in DATA[scale].items():
        options = {**SETTINGS.options(scale), **own}
        yield from salientgrads.dense(options, {"FedAvg": "fedavg"} if smoke else DENSE, panel)
        for sparsity in SPARSITIES[scale]:
            rivals = salientgrads.affordable(RIVALS, scale, sparsity)
            names = {"SalientGrads": "salientgrads", "DisPFL": "dispfl"} if smoke else SYSTEM | rivals
            yield from salientgrads.sparse(options, sparsity, names, panel, at=sparsity)


def picture(results):
    """For each data set: accuracy on all test images, and on clients' own."""
    sparsity = Quantity("Sparsity", "%")
    by_measure = [charts.sweep(results, sparsity, measure) for measure in (ACCURACY, CLIENT_ACCURACY)]
    return charts.picture(results, [chart for pair in zip(*by_measure, strict=True) for chart in pair])


def judge(results):
    """At 50 and 80 %, on all test images: at most a point below FedAvg, and above the other sparse methods."""
    holds, said = True, []
    for panel in results.panels():
        for sparsity in JUDGED:
            apart = {
                name: results.difference("SalientGrads", name, panel, sparsity)
                for name in ("FedAvg", *RIVALS)
                if results.scores("SalientGrads", panel, sparsity) and results.scores(name, panel, sparsity)
            }
            if "FedAvg" not in apart:
                continue
            dense = apart.pop("FedAvg")
            holds &= dense.mean >= -0.01
            words = f"{panel}, {100 * sparsity:g} %: {points_apart(dense)} FedAvg"
            if apart:
                rival, least = min(apart.items(), key=lambda item: item[1].mean)
                holds &= least.mean > 0
                words += f", {points_apart(least)} its best rival ({rival})"
            said.append(words)
    return Verdict(bool(holds) if said else None, "; ".join(said) or "nothing that could be compared was run")


REPRODUCTION = Reproduction(
    "salientgrads_accuracy",
    "SalientGrads: accuracy by sparsity",
    cases,
    picture,
    "a subnetwork chosen by the data before training is as accurate as the dense model, and more than rivals",
    judge,
    published=(FILES / "published/salientgrads.toml", "accuracy"),
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
