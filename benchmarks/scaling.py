"""Time of a round and peak memory by population, cohort and chunk, beside what the run's estimate said.

    python -m benchmarks.scaling [--large]

A perceptron 784-64-10 with one local step of batch 8; clients share a pool of 1,000 images, so that a population adds
only its rows of indices (and the states of its clients, for error correction). Every point is a fresh process, whose
resident memory is read three times as the most that it has had so far: after the `imports`, when the rounds are
`compiled` (with data, population and XLA's compiler) and at the end (`peak`). `estimate` is what
`fedjax_sparse.simulation.memory` says of the run's data, states and rounds. Targets: peak flat in the population for
FedAvg, and linear with the stated bytes per client for error correction. About two minutes on two cores.

`--large` adds a cohort of 1,000 ResNet-18 clients, one step of batch 4 each, which has to complete a round in 16 GB:
two minutes more, of one round. Here as in all points the test set is a single image and nothing is evaluated: a run
needs memory for its test set and for evaluating besides.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks import timing

POOL, HELD = 1_000, 8  # images; of which each client holds so many, one step
ROUNDS = 20  # of a point, one by one; the median is reported
BASE: dict[str, Any] = {
    "algorithm": "fedavg",
    "store": "device",
    "population": 2_000,
    "cohort": 100,
    "chunk": 1,
    "model": "mlp",
}
POINTS = [
    *({"population": n} for n in (100, 1_000, 10_000, 100_000)),
    *({"algorithm": "error-correction", "population": n} for n in (100, 1_000, 10_000)),
    *({"algorithm": "error-correction", "store": "host", "population": n} for n in (100, 1_000, 10_000)),
    *({"cohort": c} for c in (10, 100, 1_000, 2_000)),
    *({"chunk": c} for c in (1, 10, 100)),
]
LARGE = {"population": 1_000, "cohort": 1_000, "model": "resnet18"}


def resident() -> int:
    """The most bytes that this process has had in main memory."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def child(point: dict[str, Any]) -> None:
    """Prints one row as JSON; run in a process of its own."""
    import jax
    import numpy as np

    from fedjax_sparse import Cohorts, Machine, Training, build_model, make_algorithm, make_setting
    from fedjax_sparse.data import population
    from fedjax_sparse.data.datasets import Dataset
    from fedjax_sparse.simulation import driver, memory, programs

    imports, large = resident(), point["model"] == "resnet18"
    shape, held = ((32, 32, 3), 4) if large else ((28, 28, 1), HELD)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (POOL, *shape), np.uint8)
    y = generator.integers(0, 10, POOL, np.int32)
    data = Dataset("synthetic", x, y, x[:1], y[:1], "classification", 10)
    parts = [*generator.integers(0, POOL, (point["population"], held))]
    options: dict[str, Any] = {} if large else {"hidden": (64,)}
    model = build_model(point["model"], shape, 10, **options)
    setting = make_setting(
        data,
        model,
        population.build(x, y, parts),
        cohorts=Cohorts(cohort_size=point["cohort"]),
        training=Training(rounds=100, local_epochs=1, batch_size=held),
        machine=Machine(chunk=point["chunk"], devices=1, state_store=point["store"]),
    )
    algorithm = make_algorithm(point["algorithm"], setting.federation)
    store = programs.make_store(algorithm, setting)
    program, analysis = programs.compile_ahead(algorithm, setting)
    estimate, compiled = memory.estimate(analysis, setting, store).needed, resident()
    ends, count = [time.perf_counter()], 1 if large else ROUNDS
    for _ in driver.run(
        algorithm, setting, [0], evaluate_at=lambda t: False, stop_at=lambda t: True, program=program
    ):
        ends.append(time.perf_counter())
        if len(ends) > count:
            break
    row = {
        "ms a round": 1000 * statistics.median(np.diff(ends)),
        "state, bytes a client": store.bytes_per_client,
        "estimate, MB": estimate / 1e6,
        "imports, MB": imports / 1e6,
        "compiled, MB": compiled / 1e6,
        "peak, MB": resident() / 1e6,
        "device": jax.devices()[0].device_kind,
    }
    print(json.dumps(row))


def measure(point: dict[str, Any]) -> dict[str, Any]:
    """The row of a point, from a fresh process."""
    whole = BASE | point
    command = [sys.executable, "-c", f"from benchmarks import scaling; scaling.child({whole!r})"]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return whole | json.loads(process.stdout)


def main() -> int:
    """Measures all points."""
    parser = timing.arguments(__doc__, "scaling")
    parser.add_argument("--large", action="store_true", help="ResNet-18 too")
    args = parser.parse_args()
    points = [*POINTS, LARGE] if args.large else POINTS
    points = [point for n, point in enumerate(points) if BASE | point not in [BASE | p for p in points[:n]]]
    timing.report(args.out, [measure({**point, **_within(point)}) for point in points])
    return 0


def _within(point: dict[str, Any]) -> dict[str, int]:
    """No cohort is larger than its population."""
    return {"cohort": min((BASE | point)["cohort"], (BASE | point)["population"])}


if __name__ == "__main__":
    sys.exit(main())
