"""What sparsity costs in time: a round of each registered algorithm against one of FedAvg, side by side.

    python -m benchmarks.overhead [--workload mlp] [--devices 2] [--only sparsyfed flare ...]

The same clients, batches and number of local steps for all; where an algorithm sets that number itself, an option makes
it that of the others, and the column `options` says so. Sparsities and all else are the defaults. Rounds are early
ones of a run of 200, in which FedSparsify prunes in every round and one-shot pruning not yet. What comes before
round 1, such as finding a mask, is left out. About ten minutes on two cores, most of it compilation.

Targets: at most 1.25 times FedAvg's round, and more for those that do more, see `TARGET_OF`.
"""

import gc
import sys
from typing import Any

import jax

from benchmarks import ours, timing
from benchmarks.workloads import WORKLOADS, Workload
from fedjax_sparse.config import registry
from fedjax_sparse.config.entry import Entry
from fedjax_sparse.simulation import programs

ROUNDS = programs.MAX_BLOCK  # in one timed call, as in a run
RUN = 200  # rounds of the run whose first ones are timed
TARGET = 1.25
TARGET_OF = {
    "ditto": 5.0,  # three passes for itself beside the one of FedAvg
    **dict.fromkeys(("zerofl", "swat"), 3.0),  # weights and activations are selected in every local step
    "sparsyfed": 2.0,  # activations are pruned in every local step
    **dict.fromkeys(("sub-fedavg", "lotteryfl"), 2.0),  # clients test models on all that they train on
    "dispfl": 2.0,  # clients average with ten others
    "spafl": 1.5,  # thresholds are trained beside the weights
    "fedspa": 2.0,  # the gradient of one more batch
    "fedrts": 2.0,  # clients vote on every entry in every round
    "prunefl": 2.0,  # gradients are summed in every local step
    **dict.fromkeys(("rigl", "set", "feddst", "flash-jmwst", "fedtiny"), 1.5),  # masks move
}
AT_ONCE = 5  # compiled programs are kept that long: beyond some thirty, XLA runs out of memory maps


def hyper_of(entry: Entry, steps: int) -> dict[str, Any]:
    """What gives the algorithm as many local steps as the others take."""
    return {"coin": "fixed", "probability": 1 / steps} if entry.sets_its_steps else {}


def compare(workload: Workload, entries: list[Entry], spread: int, repeats: int) -> list[dict[str, Any]]:
    """A row for each algorithm; they and FedAvg take turns."""
    setting = ours.setting_of(
        workload, clients=workload.cohort, devices=spread, rounds=RUN, shared_weights="off"
    )
    hyper = {entry.name: hyper_of(entry, workload.steps) for entry in entries}
    rounds = {name: ours.make_rounds(setting, name, **hyper.get(name, {})) for name in ("fedavg", *hyper)}
    runs = {name: lambda run=run: run(ROUNDS) for name, run in rounds.items()}
    times = timing.interleaved(runs, repeats)
    dense = times.pop("fedavg").median
    return [
        {
            "algorithm": name,
            "ms a round": 1000 * taken.median / ROUNDS,
            "fedavg, ms": 1000 * dense / ROUNDS,
            "ratio": taken.median / dense,
            "target": TARGET_OF.get(name, TARGET),
            "options": ", ".join(f"{key} = {value}" for key, value in hyper[name].items()),
        }
        for name, taken in times.items()
    ]


def main() -> int:
    """Times all algorithms, a few at a time."""
    parser = timing.arguments(__doc__, "overhead")
    parser.add_argument("--workload", choices=WORKLOADS, default="mlp")
    parser.add_argument(
        "--devices", type=timing.at_least(1), default=1, help="that share the cohort; cores of a CPU"
    )
    names = [name for name in registry.algorithms() if name != "fedavg"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="algorithms")
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", args.devices)
    entries = [registry.entry(name) for name in args.only]
    rows = []
    for first in range(0, len(entries), AT_ONCE):
        rows += compare(
            WORKLOADS[args.workload], entries[first : first + AT_ONCE], args.devices, args.repeats
        )
        jax.clear_caches()
        gc.collect()
    timing.report(args.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
