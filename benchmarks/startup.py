"""From nothing to the first round in a fresh process: without a compilation cache, with an empty one and a full one.

    python -m benchmarks.startup [--repeats 3] [--programs digits pfl_cnn]

`digits` is the README's first command, `pfl_cnn` SparsyFed on pfl-research's CIFAR-10 network, on one device. Every
process imports, builds the federation, compiles its rounds and runs one (which compiles the start and the evaluation
too); medians of the seconds of each stage, in turns. About three minutes on two cores. Target: with a full cache,
`compile` takes less than a quarter of what it takes without one.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import timing

PROGRAMS = ("digits", "pfl_cnn")
STAGES = ("import", "build", "compile", "first round")


def child(program: str) -> None:
    """Prints the seconds of each stage as JSON; run in a process of its own."""
    laps = [time.perf_counter()]
    from benchmarks import ours
    from benchmarks.workloads import WORKLOADS
    from fedjax_sparse import make_algorithm
    from fedjax_sparse.config.run_config import configure
    from fedjax_sparse.devices import compilation_cache
    from fedjax_sparse.experiments.building import build
    from fedjax_sparse.simulation import driver, programs

    laps.append(time.perf_counter())
    if program == "digits":
        built = build(configure("fedsparsify-global"))
        algorithm, setting = built.algorithm, built.setting
    else:
        compilation_cache.enable(None)
        setting = ours.setting_of(WORKLOADS[program], clients=100, rounds=100, cohort_size=2)
        algorithm = make_algorithm("sparsyfed", setting.federation)
    laps.append(time.perf_counter())
    compiled, _ = programs.compile_ahead(algorithm, setting)
    laps.append(time.perf_counter())
    next(driver.run(algorithm, setting, [0], evaluate_at=lambda t: t == 1, program=compiled))
    laps.append(time.perf_counter())
    seconds = [after - before for before, after in itertools.pairwise(laps)]
    print(json.dumps(dict(zip(STAGES, seconds, strict=True))))


def measure(program: str, **environment: str) -> dict[str, float]:
    """The stages of one fresh process."""
    command = [sys.executable, "-c", f"from benchmarks import startup; startup.child({program!r})"]
    process = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout)


def compare(program: str, repeats: int) -> list[dict[str, str | float]]:
    """A row for each state of the cache."""
    measured: dict[str, list[dict[str, float]]] = {"none": [], "empty": [], "full": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            there = {"FEDJAX_SPARSE_CACHE": folder}
            measured["none"].append(measure(program, JAX_ENABLE_COMPILATION_CACHE="false", **there))
            measured["empty"].append(measure(program, **there))
            measured["full"].append(measure(program, **there))
    rows = []
    for cache, runs in measured.items():
        stages = {name: statistics.median(run[name] for run in runs) for name in STAGES}
        first = statistics.median(run["compile"] for run in measured["none"])
        rows.append(
            {"program": program, "cache": cache, **stages, "compile, of none": stages["compile"] / first}
        )
    return rows


def main() -> int:
    """Measures all programs."""
    parser = timing.arguments(__doc__, "startup")
    parser.set_defaults(repeats=3)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    args = parser.parse_args()
    rows = [row for program in args.programs for row in compare(program, args.repeats)]
    timing.report(args.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
