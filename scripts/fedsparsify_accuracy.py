"""FedSparsify: accuracy by sparsity, against methods that prune and methods that do not.

    python scripts/fedsparsify_accuracy.py --scale smoke --out runs/smoke

Momentum on CIFAR starts anew every round here, for all methods; clients of the authors keep it.
"""

import sys
from itertools import product
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, fedsparsify, sparsities
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.fedsparsify import DENSE, RIVALS, SYSTEM, TENTH
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, beats, together
from fedjax_sparse.results.drawing import Quantity

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "fedsparsify/fashion_mnist_cpu.toml",
    FILES / "fedsparsify/fashion_mnist.toml",
)
SPARSITIES = {"smoke": [0.9], "cpu": [0.9, 0.95, 0.99], "paper": [0.8, 0.85, 0.9, 0.95, 0.99]}
CIFAR_10 = {"dataset": "cifar10", "model": "cifar_cnn", "client_lr": 0.005, "client_momentum": 0.75}
CIFAR_100 = {
    "dataset": "cifar100",
    "model": "vgg16:init=glorot",
    "augment": True,
    "rounds": 100,
    "batch_size": 128,
    "client_lr": 0.01,
    "client_momentum": 0.9,
    "client_nesterov": True,
}
DOMAINS = {  # classes of a client where clients differ, and what runs state
    "Fashion-MNIST": (2, {}),
    "CIFAR-10": (5, {"scaling": "standard", **CIFAR_10}),
    "CIFAR-100": (50, {"scaling": "standard", **CIFAR_100}),
}
PARAMETERS = {  # of each model
    "mlp:hidden=16": 1_210,
    "mlp": 118_282,
    "cifar_cnn": 1_609_930,
    "vgg16:init=glorot": 14_774_436,
}


def panels(scale):
    """Title of each panel -> what its runs state."""
    if scale != "paper":
        return {"smoke": {"Digits": {}}, "cpu": {"Fashion-MNIST, 2 classes each, 10 clients": {}}}[scale]
    return {
        f"{domain}, {f'{classes} classes each' if apart else 'iid'}, {clients} clients": {
            **own,
            "partition": "classes" if apart else "iid",
            "classes_per_client": classes,
            "clients": clients,
        }
        for (domain, (classes, own)), apart, clients in product(DOMAINS.items(), (False, True), (10, 100))
    }


def cases(scale):
    """Dense training across, and every method at every sparsity."""
    for panel, own in panels(scale).items():
        options = {**SETTINGS.options(scale), **own}
        smoke = scale == "smoke"  # which compiles few methods
        yield from fedsparsify.dense(options, {"FedAvg": "fedavg"} if smoke else DENSE, panel)
        for sparsity in SPARSITIES[scale]:
            names = SYSTEM if smoke else SYSTEM | RIVALS
            yield from fedsparsify.sparse(options, sparsity, names, panel, at=sparsity)


def nonzero(result):
    """How many parameters are not zero, over the last rounds and seeds."""
    return round(sparsities.late_density(result, "density") * PARAMETERS[result.case.config.data.model])


def picture(results):
    """A panel for each data set and partition, over sparsity, and one over the parameters that are left."""
    found, left = sparsities.placed(results), results.placed(nonzero)
    by_sparsity = charts.sweep(found, Quantity("Sparsity", "%"))
    by_size = charts.sweep(left, Quantity("Parameters that are not zero", "values", "log"))
    return charts.picture(found, [*by_sparsity, *by_size])


def judge(results):
    """At 90 %, in every panel: the better of the two is at most a point below any other that is as sparse, or dense."""
    return together(of_panel(results, panel) for panel in results.panels())


def of_panel(results, panel):
    """The verdict on one panel."""
    best = max(SYSTEM, key=lambda name: results.mean(name, panel, TENTH))
    others = {name for name in results.by_series(panel) if name not in SYSTEM}
    ended = sparsities.elsewhere(results, sorted(others), panel, TENTH)
    apart = {name: results.difference(best, name, panel, TENTH) for name in sorted(others - {*ended})}
    holds, words = beats(apart, -0.01)
    return Verdict(
        holds, f"{panel}: {best} is {words}{sparsities.left_out(ended)} (a point below counts as level)"
    )


REPRODUCTION = Reproduction(
    "fedsparsify_accuracy",
    "FedSparsify: accuracy by sparsity",
    cases,
    picture,
    "models of a tenth of the size are as accurate as those of pruning and non-pruning baselines, or more",
    judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
