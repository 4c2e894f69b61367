"""SalientGrads: accuracy by sparsity, on all test images and on clients' own, against sparse and personal methods.

    python scripts/salientgrads_accuracy.py --scale smoke --out runs/smoke

The paper's scale has the setting of its successor SSFL, whose numbers are published, at 50 %, and SalientGrads' own, of
500 rounds. FedFOMO, D-PSGD and fine-tuned FedAvg, with which the authors compare too, are not among our algorithms.
"""

import itertools
import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, salientgrads, sparsities
from fedjax_sparse.reproduction.cases import options_of
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.salientgrads import DENSE, RIVALS, SYSTEM
from fedjax_sparse.reproduction.verdicts import Verdict, above, all_of, beats, points_apart, together
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.reading import ACCURACY, CLIENT_ACCURACY

FILES = Path(__file__).parents[1] / "experiments"
SPARSITIES = {"smoke": [0.5], "cpu": [0.5, 0.8], "paper": [0.5, 0.7, 0.8, 0.9, 0.95]}
CIFAR_10, CIFAR_100 = "salientgrads/cifar10_resnet18.toml", "salientgrads/cifar100_resnet18.toml"
OF_SSFL = {"seeds": 5}  # whose published numbers are means of five runs
TWO_CLASSES = {"partition": "classes", "classes_per_client": 2}
PANELS = {  # title -> file of its settings, what its runs state beside those, sparsities
    "smoke": {"Digits": ("smoke.toml", {}, SPARSITIES["smoke"])},
    "cpu": {"CIFAR-10": ("salientgrads/cifar10_cpu.toml", {}, SPARSITIES["cpu"])},
    "paper": {
        "CIFAR-10": ("salientgrads/cifar10_ssfl.toml", OF_SSFL, [0.5]),
        "CIFAR-100": ("salientgrads/cifar100_ssfl.toml", OF_SSFL, [0.5]),
        "CIFAR-10, 500 rounds": (CIFAR_10, {}, SPARSITIES["paper"]),
        "CIFAR-100, 500 rounds": (CIFAR_100, {}, SPARSITIES["paper"]),
        "CIFAR-10, 500 rounds, 2 classes each": (CIFAR_10, TWO_CLASSES, [0.5]),
    },
}
JUDGED = (0.5, 0.8)


def cases(scale):
    """Dense training across, and every method at every sparsity, rivals where they are affordable."""
    smoke = scale == "smoke"  # which compiles few methods
    for panel, (file, own, places) in PANELS[scale].items():
        options = options_of(FILES / file, scale) | own
        yield from salientgrads.dense(options, {"FedAvg": "fedavg"} if smoke else DENSE, panel)
        for sparsity in places:
            rivals = salientgrads.affordable(RIVALS, scale, sparsity)
            names = {"SalientGrads": "salientgrads", "DisPFL": "dispfl"} if smoke else SYSTEM | rivals
            yield from salientgrads.sparse(options, sparsity, names, panel, at=sparsity)


def picture(results):
    """For each data set: accuracy on all test images, and on clients' own."""
    sparsity = Quantity("Sparsity", "%")
    found = sparsities.placed(results)
    by_measure = [charts.sweep(found, sparsity, measure) for measure in (ACCURACY, CLIENT_ACCURACY)]
    return charts.picture(found, [chart for pair in zip(*by_measure, strict=True) for chart in pair])


def judge(results):
    """At 50 and 80 %, on all test images: at most a point below FedAvg, and above the other methods as sparse."""
    places = itertools.product(results.panels(), JUDGED)
    parts = [at_sparsity(results, *place) for place in places if results.scores("SalientGrads", *place)]
    return together(parts) if parts else Verdict(None, "SalientGrads was run at neither 50 nor 80 %")


def at_sparsity(results, panel, sparsity):
    """The verdict at one sparsity, of those that were run there."""
    dense, *others = (
        results.difference("SalientGrads", name, panel, sparsity) for name in ("FedAvg", *RIVALS)
    )
    ended = sparsities.elsewhere(results, RIVALS, panel, sparsity)
    apart = {
        name: by
        for name, by in zip(RIVALS, others, strict=True)
        if results.scores(name, panel, sparsity) and name not in ended
    }
    rivals = beats(apart) if apart else Verdict(True, "no rival as sparse was run")
    words = f"{panel}, {100 * sparsity:g} %: {points_apart(dense)} FedAvg, {rivals.measured}"
    return Verdict(all_of([above(dense, -0.01), rivals.holds]), words + sparsities.left_out(ended))


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
