"""SalientGrads: how long clients communicate in a round, by the size of the network and by sparsity.

    python scripts/salientgrads_networks.py --scale smoke --out runs/smoke

Two rounds of one local step: what is sent does not depend on how much is trained. Clients have 20 Mbit/s up, 100 down
and 10 ms one way, and processors that take no time (--network broadband-links).
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, salientgrads
from fedjax_sparse.reproduction.cases import Settings
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.salientgrads import named
from fedjax_sparse.reproduction.verdicts import Verdict, above, factor
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.reading import SECONDS
from fedjax_sparse.results.statistics import ratio

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml",
    FILES / "salientgrads/cifar10_cpu.toml",
    FILES / "salientgrads/cifar10_resnet18.toml",
)
RESNETS = {75_290: "resnet8", 269_722: "resnet20", 4_286_026: "resnet20:width=64", 11_173_962: "resnet18"}
NETWORKS = {  # parameters -> model
    "smoke": {1210: "mlp:hidden=16", 76_810: "mlp:hidden=1024"},
    "cpu": RESNETS,
    "paper": RESNETS,
}
SPARSITIES = {"smoke": [0.5], "cpu": [0.5, 0.8, 0.95], "paper": [0.5, 0.8, 0.95]}
SHORT = {"rounds": 2, "eval_every": 2, "local_steps": 1, "seeds": 1}
SMALLER = {"smoke": {}, "cpu": {"image_shrink": 4}, "paper": {}}  # nor on how large images are
A_ROUND = "round_seconds"
PUBLISHED = FILES / "published/salientgrads.toml"


def cases(scale):
    """Dense training, and SalientGrads at every sparsity, of every network."""
    options = SETTINGS.options(scale)
    for parameters, model in NETWORKS[scale].items():
        own = {"at": parameters, "model": model, **SHORT, **SMALLER[scale]}
        yield from salientgrads.dense(options, {"FedAvg": "fedavg"}, **own)
        for sparsity in SPARSITIES[scale]:
            yield from salientgrads.sparse(
                options, sparsity, {named("SalientGrads", sparsity): "salientgrads"}, **own
            )


def of_a_round(results):
    """The same with the mean seconds of a round, without what comes before the first one: the making of the mask."""
    return results.with_column(
        A_ROUND,
        lambda columns, case: (columns[SECONDS] - columns[SECONDS][0]) / np.maximum(columns["round"], 1),
    )


def picture(results):
    """Time of a round over the size of the network."""
    sizes = Quantity("Parameters of the network", "values", "log")
    return charts.picture(results, charts.sweep(of_a_round(results), sizes, A_ROUND, last=1))


def judge(results):
    """Whether a round of the largest network communicates as much faster at 50 %, where the published runs are."""
    found = of_a_round(results)
    largest, asked = max(result.case.at for result in found.found), salientgrads.times_faster(PUBLISHED)
    dense = found.scores("FedAvg", at=largest, column=A_ROUND, last=1)
    faster = {
        name: ratio(dense, found.scores(name, at=largest, column=A_ROUND, last=1))
        for name in found.by_series("")
        if name != "FedAvg"
    }
    said = ", ".join(f"{factor(by)} at {name.split(', ')[1]}" for name, by in faster.items())
    return Verdict(
        above(faster[named("SalientGrads", 0.5)], asked),
        f"with {largest:,} parameters a round is faster than FedAvg's {said}; published: over {asked:g} times, of a "
        "sparsity that is not named, but all published runs are at 50 %",
    )


REPRODUCTION = Reproduction(
    "salientgrads_networks",
    "SalientGrads: time of communication by the size of the network",
    cases,
    picture,
    "sparse exchange makes communication over 2.3 times faster",
    judge,
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
