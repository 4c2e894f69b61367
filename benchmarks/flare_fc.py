"""FLARE's run on MNIST over rounds: dense FedAvg, error correction and FLARE, with the settings of the official code.

    python -m benchmarks.flare_fc --data-dir DATA_DIR                  # 784-4069-4069-4069-10, for an accelerator
    python -m benchmarks.flare_fc --data-dir DATA_DIR --hidden 256     # a narrower net, for a CPU

The first 6,000 training images in 10 shards of 600, one step a round, no ReLU between the layers; 0.001 % of each
tensor is sent. Runs that are finished are not repeated and one that was stopped goes on, so the command may be given
again at any time. Prints one table of test accuracies in percent, and writes it as CSV. The published ones are those
of the official code's own log (one run, 4069 units); a narrower net is another problem, and nothing is compared.
"""

import argparse
import csv
import sys
from pathlib import Path

from benchmarks import timing
from fedjax_sparse.cli.batch import Case, folder_of, run_all
from fedjax_sparse.records.run_folder import RunFolder

CONFIG = Path(__file__).parents[1] / "experiments" / "flare" / "mnist_fc_official.toml"
ROUNDS = (50, 100, 200, 300, 500, 750, 1000)
WIDTH = 4069
SPARSE = "--keep-percent 0.001 --count-rule plus-one"
ALGORITHMS = {
    "fedavg": ("", (61.0, 71.5, 78.2, 81.3, 83.9, 85.7, 86.5)),
    "error-correction": (SPARSE, (8.5, 9.0, 11.8, 19.3, 38.1, 56.7, 65.3)),
    "flare": ("", (37.8, 60.6, 72.9, 79.3, 84.0, 86.4, 87.5)),
}


def cases(hidden: int) -> list[Case]:
    """The three runs, on a net with three hidden layers of `hidden` units."""
    model = f"flare_fc:linear=true,hidden={hidden}x{hidden}x{hidden}"
    return [
        Case(name, f"{name} --config {CONFIG} --model {model} --rounds {max(ROUNDS)} {own}")
        for name, (own, _) in ALGORITHMS.items()
    ]


def table(out: Path, hidden: int) -> list[list[str]]:
    """Rows of accuracies at `ROUNDS`, and the published ones where the net is the same."""
    rows = [["accuracy %, round", *map(str, ROUNDS)]]
    for case in cases(hidden):
        by_round = {row["round"]: row for row in RunFolder(folder_of(out, case)).rows()}
        measured = [
            f"{100 * by_round[t]['global_test_accuracy']:.1f}" if t in by_round else "" for t in ROUNDS
        ]
        rows.append([case.label, *measured])
        if hidden == WIDTH:
            rows.append([f"{case.label}, published", *map(str, ALGORITHMS[case.label][1])])
    return rows


def main() -> int:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of data sets; by default FEDJAX_SPARSE_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/flare_fc"))
    parser.add_argument("--hidden", type=timing.at_least(1), default=WIDTH, help="units of each hidden layer")
    args = parser.parse_args()
    out = args.out / str(args.hidden)
    run_all(cases(args.hidden), out, args.data_dir)
    rows = table(out, args.hidden)
    print("\n".join("  ".join(cell.ljust(28 if i == 0 else 5) for i, cell in enumerate(row)) for row in rows))
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
