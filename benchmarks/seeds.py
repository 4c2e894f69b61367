"""K seeds as one program against K runs, FedAvg on the MLP workload.

    python -m benchmarks.seeds [--workload mlp] [--devices 2] [--seeds 1 2 4 8]

One row for every K on one device and on both cores as two devices; `of one seed` divides by the time of one seed on as
many devices, `of one on one device` by that on one, `of K runs` by K times the time of one seed on as many devices. On
CPU seeds take turns inside the program, since one seed's products fill a core, so K seeds take about K times as long;
what is saved is start and compilation, once instead of K times, which are not timed here. Target: eight seeds take at
most six times as long as one.
"""

import sys

import jax

from benchmarks import ours, timing
from benchmarks.workloads import WORKLOADS


def main() -> int:
    """Times all numbers of seeds side by side."""
    parser = timing.arguments(__doc__, "seeds")
    parser.add_argument("--workload", choices=WORKLOADS, default="mlp")
    positive = timing.at_least(1)
    parser.add_argument("--devices", type=positive, default=2, help="compared with one; cores of a CPU")
    parser.add_argument("--seeds", type=positive, nargs="+", default=[1, 2, 4, 8])
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", args.devices)
    rounds = {}
    for spread in sorted({1, args.devices}):
        setting = ours.setting_of(WORKLOADS[args.workload], devices=spread)
        for seeds in sorted({1, *args.seeds}):
            rounds[spread, seeds] = ours.make_rounds(setting, seeds=seeds)
    runs = {f"{spread} {seeds}": lambda run=run: run(1) for (spread, seeds), run in rounds.items()}
    times = timing.interleaved(runs, args.repeats)
    rows = []
    for spread, seeds in rounds:
        taken, one = times[f"{spread} {seeds}"].median, times[f"{spread} 1"].median
        rows.append(
            {
                "devices": spread,
                "seeds": seeds,
                "ms a round": 1000 * taken,
                "of one seed": taken / one,
                "of one on one device": taken / times["1 1"].median,
                "of K runs": taken / (seeds * one),
                "target of one seed": 6.0 if seeds == 8 else None,
            }
        )
    timing.report(args.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
