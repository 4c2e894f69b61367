"""FedSparsify to 90 % against dense FedAvg on Fashion-MNIST, over three seeds: the README's table and figure.

100 clients, 10 a round, 4 local epochs in batches of 32, 200 rounds; iid, and shards of two classes a client.
About ten minutes on two cores. The README's figure is `shards/every_tenth_round/accuracy_by_bytes.png`.

    python scripts/fashion_mnist.py --data-dir DATA_DIR --out runs/fashion_mnist
"""

import argparse
import sys
from pathlib import Path

from fedjax_sparse.cli.batch import Case, run_all
from fedjax_sparse.results import figures, reading
from fedjax_sparse.results.reading import Run

SHARED = """--dataset fashion_mnist --model mlp --clients 100 --cohort-size 10 --local-epochs 4 --batch-size 32
    --client-lr 0.02 --rounds 200 --eval-every 1 --seeds 3"""
ALGORITHMS = {"fedavg": "", "fedsparsify-global": "--sparsity 0.9"}
PARTITIONS = ("iid", "shards")


def main() -> int:
    """Runs what has not been run yet, then draws and prints each partition's comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of data sets; by default FEDJAX_SPARSE_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/fashion_mnist"))
    args = parser.parse_args()
    for partition in PARTITIONS:
        cases = [
            Case(f"{algorithm}-{partition}", f"{algorithm} {own} {SHARED} --partition {partition}")
            for algorithm, own in ALGORITHMS.items()
        ]
        run_all(cases, args.out, args.data_dir)
        folders = [args.out / case.label for case in cases]
        figures.plot(folders, args.out / partition)
        seldom = [every_tenth_round(reading.read(folder)) for folder in folders]
        figures.draw(seldom, args.out / partition / "every_tenth_round", names=["accuracy_by_bytes"])
    return 0


def every_tenth_round(run: Run) -> Run:
    """The run as if tested more seldom: curves of all rounds, which go up and down on shards, cover each other."""
    seeds = [{name: rows[seed["round"] % 10 == 0] for name, rows in seed.items()} for seed in run.seeds]
    return run._replace(seeds=seeds)


if __name__ == "__main__":
    sys.exit(main())
