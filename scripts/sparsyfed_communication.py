"""SparsyFed, figure 6: accuracy against bytes sent, and how sparse the server's model is by round.

python scripts/sparsyfed_communication.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

import numpy as np

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.charts import Point
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, above, factor
from fedjax_sparse.results.statistics import ratio

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "smoke.toml", FILES / "sparsyfed/fashion_mnist_cpu.toml", FILES / "sparsyfed/cifar10_a1_s95.toml"
)
ALONE = {"": (0.95, {})}
PANELS = {  # title -> sparsity, and what runs state beside the settings
    "smoke": ALONE,
    "cpu": ALONE,
    "paper": ALONE | {"CIFAR-100, Dirichlet 1000, 90 %": (0.9, {"dataset": "cifar100", "alpha": 1000.0})},
}
METHODS = {"SparsyFed": "sparsyfed", "Top-K": "topk-weights", "ZeroFL": "zerofl", "FLASH": "flash"}
# Numbers beside the curves: how many times as many values reach the clients as of SparsyFed, which is how the paper
# counts; and the first evaluated round at 99 % of the accuracy of the last 50.
TIMES, NEARLY_THERE = "downlink_times", "rounds_to_99"


def cases(scale):
    """Every method at one sparsity, and dense training."""
    for panel, (sparsity, own) in PANELS[scale].items():
        options = SETTINGS.options(scale) | own
        yield case("dense", "fedavg", options, panel=panel)
        for name, algorithm in METHODS.items():
            yield case(name, algorithm, options, panel=panel, sparsity=sparsity)


def downlink(results, name, panel):
    """Values that reach a client in a round, as a share of the model's, over all rounds."""
    return results.mean(name, panel, column="downlink_density", last=10**9)


def numbers(results):
    """What stands beside published numbers and is no curve; of a method, of which not all is known, what is."""
    for panel in results.panels():
        for name, (result,) in results.by_series(panel).items():
            target = 0.99 * results.mean(name, panel, last=50)
            values = {
                TIMES: downlink(results, name, panel) / downlink(results, "SparsyFed", panel),
                NEARLY_THERE: results.cost_to_reach(name, target, "round", panel),
            }
            seeds = len(result.outcome.seeds)
            yield from (
                Point(panel, name, quantity, 0.0, value, value, value, seeds)
                for quantity, value in values.items()
                if np.isfinite(value)
            )


def picture(results):
    """Accuracy over bytes of both links and over those to the clients; the density of what the server sends."""
    by_bytes = charts.curves(results, "communicated_bytes")
    by_downlink = charts.curves(results, "downlink_bytes")
    drawn = charts.picture(
        results, [*by_bytes, *by_downlink, *charts.curves(results, "round", ["downlink_density"])]
    )
    return drawn._replace(points=[*numbers(results), *drawn.points])


def judge(results):
    """The factor by which the downlink of a round has fewer values than in dense training; 19 within a tenth."""
    values, total = (
        ratio(*(results.scores(name, column=column, last=last) for name in ("dense", "SparsyFed")))
        for column, last in (("downlink_density", 10**9), ("downlink_bytes", 1))
    )
    return Verdict(
        above(values, 0.9 * 19),
        f"in a round the server sends {factor(values)} fewer values than in dense training, as the paper counts; in "
        f"bytes of all rounds, with positions and the first model, which is dense, {factor(total)} fewer",
    )


REPRODUCTION = Reproduction(
    "sparsyfed_communication",
    "SparsyFed, figure 6: accuracy against communication",
    cases,
    picture,
    "19 times less is sent to the clients than in dense training",
    judge,
    published=(FILES / "published/sparsyfed.toml", "communication"),
    tuned={"cpu": FILES / "tuned/sparsyfed.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
