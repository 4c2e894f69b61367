"""Accuracy of the five systems, their nearest rivals and dense FedAvg at 90, 95 and 99 % sparsity, on real data.

    python -m benchmarks.systems --data-dir DATA_DIR                   # --scale cpu: about half an hour on two cores
    python -m benchmarks.systems --data-dir DATA_DIR --scale paper     # for an accelerator

Fashion-MNIST with the 784-128-128-10 perceptron and CIFAR-10 with LeNet-5; ten clients hold Dirichlet(1) shares of the
classes, and all take part in every round. One learning rate serves all, but for SparsyFed's, whose exponent asks for
a larger one; nothing is tuned. Runs that are finished are not repeated and one that was stopped goes on, so the
command may be given again at any time. Prints one table for each data set, and writes it as CSV.
"""

import argparse
import sys
import time
from pathlib import Path

from fedjax_sparse import results
from fedjax_sparse.batch import Case, run_all

SPARSITIES = (0.9, 0.95, 0.99)
SPARSITY, PERCENT = "--sparsity {sparsity}", "--keep-percent {percent:g}"
COIN = "--coin fixed --probability 0.05"  # 20 local steps a round, as the others take
SPARSE = {
    "fedsparsify-global": SPARSITY,
    "fedsparsify-local": SPARSITY,
    "random-pruning": SPARSITY,
    "sparsyfed": f"{SPARSITY} --client-lr 0.2",
    "topk-weights": SPARSITY,
    "salientgrads": SPARSITY,
    "snip": SPARSITY,
    "flare": PERCENT,
    "error-correction": PERCENT,
    "ef21": PERCENT,
    "sparse-proxskip": f"{SPARSITY} {COIN}",
    "sparse-proxskip-local": f"{SPARSITY} {COIN}",
    "fedavg-server-topk": SPARSITY,
}
SHARED = (
    "--partition dirichlet-by-class --alpha 1 --clients 10 --cohort-size all --batch-size 32 --client-lr 0.1"
)
PROBLEMS = {
    "fashion_mnist": "--dataset fashion_mnist --model mlp",
    "cifar10": "--dataset cifar10 --model lenet5",
}
SCALES = {
    "cpu": {
        "fashion_mnist": "--local-steps 20 --rounds 100 --eval-every 5",
        "cifar10": "--local-steps 20 --rounds 40 --eval-every 5",
    },
    "paper": {
        "fashion_mnist": "--local-steps 20 --rounds 500 --eval-every 5 --seeds 3",
        "cifar10": "--local-steps 20 --rounds 1000 --eval-every 5 --seeds 3 --augment",
    },
}


def cases(problem: str, scale: str) -> list[Case]:
    """Dense FedAvg, then everything sparse at each sparsity."""
    flags = f"{PROBLEMS[problem]} {SHARED} {SCALES[scale][problem]}"
    dense = Case("fedavg", f"fedavg {flags}")
    sparse = [
        Case(
            f"{name} {sparsity:.0%}",
            f"{name} {flags} {own.format(sparsity=sparsity, percent=100 * (1 - sparsity))}",
        )
        for sparsity in SPARSITIES
        for name, own in SPARSE.items()
    ]
    return [dense, *sparse]


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
