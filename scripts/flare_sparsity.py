"""FLARE: accuracy by the share of entries that clients send, against error correction and EF21.

python scripts/flare_sparsity.py --scale smoke --out runs/smoke
"""

import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction import charts, flare
from fedjax_sparse.reproduction.cases import Settings, case
from fedjax_sparse.reproduction.reproducing import Reproduction, Verdict, points_apart
from fedjax_sparse.results.drawing import Quantity

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
    """At the smallest share: above every rival, and no worse than rivals that send ten times as much.

    Of one share alone the second cannot be said: the claim then fails, or is open.
    """
    shares = sorted({result.case.at for result in results.found if result.case.at})
    least = shares[0]
    ahead = {name: results.difference("FLARE", name, at=least) for name in RIVALS}
    name, by = min(ahead.items(), key=lambda item: item[1].mean)
    said = f"with {100 * least:g} % sent, FLARE is {points_apart(by)} its best rival ({name})"
    said += f" and {points_apart(results.difference('FLARE', 'dense', at=least))} dense training"
    if len(shares) == 1:
        return Verdict(None if by.mean > 0 else False, f"{said}; no other share was run")
    own = results.mean("FLARE", at=least)
    rival = max(results.mean(other, at=shares[1]) for other in RIVALS)
    side = "as good as" if own >= rival else "worse than"
    return Verdict(
        bool(by.mean > 0 and own >= rival), f"{said}; it is {side} rivals that send ten times as much"
    )


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
