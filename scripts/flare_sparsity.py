"""FLARE: accuracy by the share of entries that clients send, against error correction and EF21.

python scripts/flare_sparsity.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, flare
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction
from fedjax_sparse.reproduction.verdicts import Verdict, beats, points_apart, together
from fedjax_sparse.results.drawing import Quantity
from fedjax_sparse.results.statistics import paired

FILES = Path(__file__).parents[1] / "experiments"
SETTINGS = Settings(
    FILES / "flare/smoke.toml", FILES / "flare/mnist_cpu.toml", FILES / "flare/mnist_fc_official.toml"
)
KEPT = {
    "smoke": [1.0],
    "cpu": [0.1, 0.01, 0.001],
    "paper": [0.1, 0.01, 0.001, 0.0001],
}  # percent of each tensor
RIVALS = {
    "error correction": "error-correction",
    "EF21": "ef21",
    "FedProx, error correction": "fedprox-error-correction",
}


def cases(scale):
    """Every method at every share, and dense training across."""
    options, own = SETTINGS.options(scale), SETTINGS.hyper(scale)
    yield case("dense", "fedavg", options)
    for percent in KEPT[scale]:
        here = flare.sending(own, percent)
        yield case("FLARE", "flare", options, at=percent / 100, **here)
        for name, algorithm in RIVALS.items():
            yield case(name, algorithm, options, at=percent / 100, **flare.sent(here))


def picture(results):
    """The last rounds' accuracy over the share, on a logarithmic axis."""
    return charts.picture(results, charts.sweep(results, Quantity("Entries sent of each tensor", "%", "log")))


def judge(results):
    """At the smallest share: above every rival, and no worse than rivals that send ten times as much."""
    shares = sorted({result.case.at for result in results.found if result.case.at})
    least, own = shares[0], results.scores("FLARE", at=shares[0])
    holds, said = beats({name: paired(own, results.scores(name, at=least)) for name in RIVALS})
    dense = points_apart(results.difference("FLARE", "dense", at=least))
    parts = [Verdict(holds, f"with {100 * least:g} % sent, FLARE is {said}, and {dense} dense training")]
    if len(shares) == 1:
        return together([*parts, Verdict(None, "no other share was run")])
    more = beats({name: paired(own, results.scores(name, at=shares[1])) for name in RIVALS})
    said = f"of those that send {shares[1] / least:g} times as much it is {more.measured}"
    return together([*parts, more._replace(measured=said)])


REPRODUCTION = Reproduction(
    "flare_sparsity",
    "FLARE: accuracy by the share of entries sent",
    cases,
    picture,
    "sparsity 10 times and more beyond prior methods, with significantly better accuracy",
    judge,
    tuned={"cpu": FILES / "tuned/flare.toml"},
)

if __name__ == "__main__":
    sys.exit(reproducing.main(REPRODUCTION, about=__doc__))
