"""SparsyFed's consensus on a mask against Top-K's: sparsity of the server's model, regrowth and overlap by round.

    python -m benchmarks.consensus --data-dir DATA_DIR

Fashion-MNIST with the 784-128-128-10 perceptron, 100 clients with Dirichlet(1) classes, 10 a round, one local epoch in
batches of 16, target 95 %: a few minutes on two cores. SparsyFed's exponent asks for the larger learning rate.
Finished runs are not repeated. Expected: SparsyFed's server is within half a point of the target after round 5, and
its regrowth, |(received or trained) and not sent| a client, is at least 50 times below Top-K's.
"""

import argparse
import sys
from pathlib import Path

from fedjax_sparse.cli.batch import Case, run_all
from fedjax_sparse.records.run_folder import RunFolder

TARGET = 0.95
SHARED = f"""--dataset fashion_mnist --model mlp --partition dirichlet-by-class --alpha 1 --clients 100
    --cohort-size 10 --local-epochs 1 --batch-size 16 --weight-decay 1e-3 --lr-schedule exponential:0.02
    --rounds 60 --eval-every 1 --sparsity {TARGET}"""
RATES = {"sparsyfed": 0.2, "topk-weights": 0.1}
SHOWN = (1, 2, 3, 5, 10, 20, 40, 60)


def main() -> int:
    """Runs both, prints a table, and returns 1 where the expectation is not met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", help="folder of data sets; by default FEDJAX_SPARSE_DATA")
    parser.add_argument("--out", type=Path, default=Path("runs/consensus"))
    args = parser.parse_args()
    run_all(
        [Case(name, f"{name} {SHARED} --client-lr {rate}") for name, rate in RATES.items()],
        args.out,
        args.data_dir,
    )
    ours, theirs = (RunFolder(args.out / name).rows() for name in RATES)
    print("round  sparsity of the server (%)   regrowth a client       ratio  IoU with the round before")
    print("       sparsyfed  topk-weights      sparsyfed  topk-weights        sparsyfed  topk-weights")
    for a, b in zip(ours, theirs, strict=True):
        if a["round"] in SHOWN:
            print(
                f"{a['round']:5d}  {sparsity(a):9.2f}  {sparsity(b):12.2f}"
                f"  {a['regrowth']:13.0f}  {b['regrowth']:12.0f}  {ratio(a, b):5.0f}"
                f"  {a['mask_iou_rounds']:9.3f}  {b['mask_iou_rounds']:12.3f}"
            )
    late = [(a, b) for a, b in zip(ours, theirs, strict=True) if a["round"] > 5]
    off = max(abs(sparsity(a) - 100 * TARGET) for a, _ in late)
    least = min(ratio(a, b) for a, b in late)
    print(
        f"after round 5: at most {off:.2f} points off the target; regrowth at least {least:.0f} times below Top-K's"
    )
    return 0 if off <= 0.5 and least >= 50 else 1


def sparsity(row: dict) -> float:
    """Of the server's model, over prunable entries, in percent."""
    return 100 * (1 - row["server_density_prunable"])


def ratio(a: dict, b: dict) -> float:
    """How many times larger the regrowth of `b` is."""
    return b["regrowth"] / max(a["regrowth"], 1.0)


if __name__ == "__main__":
    sys.exit(main())
