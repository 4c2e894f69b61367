"""Accuracy and time in each precision: FedAvg on Fashion-MNIST, 784-128-128-10, 100 clients, 10 a round, one epoch.

    python -m benchmarks.precision --data-dir DATA_DIR     # or FEDJAX_SPARSE_DATA; the embedded digits without either

Rows: float32 products (`--matmul-precision float32`), TF32 ones (`tensorfloat32`), bfloat16 in the layers alone
(`--compute-dtype bfloat16`: mixed precision) and everywhere (`--dtype bfloat16`). Accuracy after the last round is the
mean over `--repeats` seeds, ± their standard deviation, against float32's of the same seeds; times are medians over
blocks of ten rounds. Target: mixed precision and TF32 within the seeds' deviation of float32.

Two to four minutes on two cores. A CPU has no TF32, so that its row repeats float32's, and most compute bfloat16 in
software: the gain in time is an accelerator's.
"""

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from benchmarks import timing
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.experiments.building import build
from fedjax_sparse.simulation import driver, programs

PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"matmul_precision": "float32"},
    "tf32": {"matmul_precision": "tensorfloat32"},
    "mixed bfloat16": {"compute_dtype": "bfloat16"},
    "bfloat16": {"dtype": "bfloat16"},
}
"""Options of a run, by the name in the table."""

WORK: dict[str, Any] = {
    "clients": 100,
    "cohort_size": 10,
    "local_epochs": 1,
    "batch_size": 32,
    "client_lr": 0.1,
}

LEAST = 3 * programs.MAX_BLOCK
"""Rounds of a run that has a block which neither compiles nor evaluates."""


class Outcome(NamedTuple):
    """Of one run: test accuracy after the last round, and the median time of a round."""

    accuracy: float
    seconds: float


def measure(seed: int, **options: Any) -> Outcome:
    """One run; what compiles (the first block) and what evaluates (the last) is not timed."""
    experiment = build(configure("fedavg", **WORK, **options))
    seconds, rows, start, done = [], (None,), time.perf_counter(), 0
    for progress in driver.run(experiment.algorithm, experiment.setting, [seed], evaluate_at=lambda t: False):
        jax.block_until_ready(progress.state)
        now = time.perf_counter()
        seconds.append((now - start) / (progress.round - done))
        start, done, rows = now, progress.round, progress.rows
    assert rows[0] is not None
    return Outcome(rows[0]["global_test_accuracy"], statistics.median(seconds[1:-1]))


def main(args: Sequence[str] | None = None) -> int:
    """Runs every precision and seed, and prints the table."""
    parser = timing.arguments(__doc__, "precision")
    parser.set_defaults(repeats=3)
    parser.add_argument(
        "--data-dir",
        default=os.environ.get("FEDJAX_SPARSE_DATA"),
        help="folder of data sets; by default FEDJAX_SPARSE_DATA",
    )
    parser.add_argument("--model", default="mlp", help="as --model of a run")
    parser.add_argument(
        "--rounds", type=timing.at_least(LEAST), default=60, help=f"at least {LEAST}, for a block to time"
    )
    given = parser.parse_args(args)
    dataset = "fashion_mnist" if given.data_dir else "digits"
    work = {"dataset": dataset, "data_dir": given.data_dir, "model": given.model, "rounds": given.rounds}
    outcomes = {
        name: [measure(seed, **work, **options) for seed in range(given.repeats)]
        for name, options in PRECISIONS.items()
    }
    exact = [outcome.accuracy for outcome in outcomes["float32"]]
    time_exact = statistics.median(outcome.seconds for outcome in outcomes["float32"])
    rows = []
    for name, found in outcomes.items():
        accuracy = [outcome.accuracy for outcome in found]
        apart = [mine - theirs for mine, theirs in zip(accuracy, exact, strict=True)]
        seconds = statistics.median(outcome.seconds for outcome in found)
        rows.append(
            {
                "precision": name,
                "data": dataset,
                "accuracy (%)": f"{100 * statistics.mean(accuracy):.2f} ± {100 * statistics.pstdev(accuracy):.2f}",
                "against float32": f"{100 * statistics.mean(apart):+.2f}",
                "ms a round": 1000 * seconds,
                "time / float32": seconds / time_exact,
            }
        )
    timing.report(given.out, rows)
    if jax.default_backend() == "cpu":
        print("A CPU has no TF32: its row repeats float32's.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
