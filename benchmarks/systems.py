"""Accuracy of the five systems, their nearest rivals and dense FedAvg at 90, 95 and 99 % sparsity, on real data.

    python -m benchmarks.systems --data-dir DATA_DIR                   # --scale cpu: about half an hour on two cores
    python -m benchmarks.systems --data-dir DATA_DIR --scale paper     # for an accelerator

Fashion-MNIST with the 784-128-128-10 perceptron and ten clients, CIFAR-10 with LeNet-5 and five; clients hold
Dirichlet(1) shares of the classes, all take part in every round, and all methods take the same local steps, at a
learning rate of 0.1 but for two families whose sparse parameters move slowly: 0.5 for SparsyFed, as in its paper, and
0.3 for Sparse-ProxSkip-Local. Nothing else is tuned.

The networks' largest layers are those whose initial weights are the smallest, and a ranking of all layers together can
empty them before they have learned anything: few long rounds let them grow before the first pruning, and the TopK of
the Sparse-ProxSkip family, whose scope no paper states, goes by layer (`--layerwise`). SparsyFed runs without the
pruning of activations, an ablation of its paper: a dense layer of which 1 % lives would learn from 1 % of its inputs.

Runs that are finished are not repeated and one that was stopped goes on, so the
command may be given again at any time. Prints one table for each data set, and writes it as CSV.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

from fedjax_sparse import results
from fedjax_sparse.batch import Case, run_all

SPARSITIES = (0.9, 0.95, 0.99)
SPARSITY, PERCENT = "--sparsity {sparsity}", "--keep-percent {percent:g}"
COIN = "--coin fixed --probability {chance}"  # as many local steps in a round as the others take
SPARSE = {
    "fedsparsify-global": SPARSITY,
    "fedsparsify-local": SPARSITY,
    "random-pruning": SPARSITY,
    "sparsyfed": f"{SPARSITY} --no-activation-pruning",
    "topk-weights": SPARSITY,
    "salientgrads": SPARSITY,
    "snip": SPARSITY,
    "flare": PERCENT,
    "error-correction": PERCENT,
    "ef21": PERCENT,
    "sparse-proxskip": f"{SPARSITY} --variant v2 --layerwise",
    "sparse-proxskip-local": f"{SPARSITY} --variant v2 --layerwise",
    "fedavg-server-topk": f"{SPARSITY} --layerwise",
}
SHARED = "--partition dirichlet-by-class --alpha 1 --cohort-size all --batch-size 32 --eval-every 5"
PROBLEMS = {
    "fashion_mnist": "--dataset fashion_mnist --model mlp --clients 10",
    "cifar10": "--dataset cifar10 --model lenet5 --clients 5",
}


class Scale(NamedTuple):
    """How long a run is: local steps in a round, rounds, and further flags."""

    steps: int
    rounds: int
    more: str = ""


SCALES = {
    "cpu": {"fashion_mnist": Scale(50, 20), "cifar10": Scale(100, 8)},
    "paper": {
        "fashion_mnist": Scale(50, 500, "--seeds 3"),
        "cifar10": Scale(100, 1000, "--seeds 3 --augment"),
    },
}
LEARNING_RATES = {"sparsyfed": 0.5, "sparse-proxskip-local": 0.3}
LEARNING_RATE = 0.1  # of all others


def cases(problem: str, scale: str) -> list[Case]:
    """Dense FedAvg, then everything sparse at each sparsity."""
    steps, rounds, more = SCALES[scale][problem]
    shared = f"{PROBLEMS[problem]} {SHARED} --rounds {rounds} {more}"

    def case(label: str, name: str, own: str = "", sparsity: float = 0.0) -> Case:
        work = COIN if "proxskip" in name else "--local-steps {steps}"
        flags = f"{shared} --client-lr {LEARNING_RATES.get(name, LEARNING_RATE)} {work} {own}"
        values = {"sparsity": sparsity, "percent": 100 * (1 - sparsity), "steps": steps, "chance": 1 / steps}
        return Case(label, f"{name} {flags.format(**values)}")

    sparse = [
        case(f"{name} {sparsity:.0%}", name, own, sparsity)
        for sparsity in SPARSITIES
        for name, own in SPARSE.items()
    ]
    return [case("fedavg", "fedavg"), *sparse]


def main() -> int:
    """Runs what is missing, then prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of data sets; by default FEDJAX_SPARSE_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/systems"))
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    args = parser.parse_args()
    for problem in PROBLEMS:
        start, out = time.perf_counter(), args.out / args.scale / problem
        summaries = run_all(cases(problem, args.scale), out, args.data_dir)
        print(f"\n{problem}, {time.perf_counter() - start:.0f} s\n{results.format_table(summaries)}")
        results.write_table(summaries, out / "table.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
