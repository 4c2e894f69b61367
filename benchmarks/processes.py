"""A round by one process and by two, on one machine, beside what the model of docs/scaling.md predicts.

    python -m benchmarks.processes [--workloads softmax mlp femnist_cnn]

A process stands for a host: it has one core, one device of it, and is joined to the other as hosts are; sums go through
the loopback interface. The model's two numbers are measured as well: seconds of a client, by a round of the one
process, and seconds of one all-reduce of the model, by the two. `predicted` is ceil(C / 2) of the first and one of the
second. Every row is a fresh start. About two minutes on two cores.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import timing
from benchmarks.workloads import WORKLOADS

TURN = 1.0  # seconds that a timed run is to take


def child(workload: str, process: int, count: int, port: int, repeats: int) -> None:
    """One of the processes; the first prints seconds of a round, and of an all-reduce of the model, as JSON."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[process]})

    from benchmarks import ours
    from fedjax_sparse.config.cluster import ALONE, Cluster
    from fedjax_sparse.devices.cluster import joined
    from fedjax_sparse.simulation import programs
    from fedjax_sparse.simulation.setting import with_shared_chunk

    cluster = ALONE if count == 1 else Cluster(f"127.0.0.1:{port}", count, process)
    with joined(cluster, count):
        setting = with_shared_chunk(ours.setting_of(WORKLOADS[workload], devices=count))
        rounds = ours.make_rounds(setting)
        rounds(1)
        each = _agreed(_median(lambda: rounds(1), repeats))
        many = min(max(round(TURN / each), 1), programs.MAX_BLOCK)
        facts = {
            "round": _median(lambda: rounds(many), repeats) / many,
            "sum": _median(_all_reduce(setting), repeats),
            "devices": setting.devices,
        }
        if process == 0:
            print(json.dumps(facts), flush=True)


def _agreed(seconds: float) -> float:
    """The first process's number, so that all run as many rounds."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    return (
        seconds
        if jax.process_count() == 1
        else float(multihost_utils.broadcast_one_to_all(np.float32(seconds)))
    )


def _median(run: Callable[[], Any], repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _all_reduce(setting: Any) -> Callable[[], Any]:
    """A sum over devices of arrays of the model's shapes; nothing where there is one device."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import PartitionSpec

    from fedjax_sparse.devices import meshes

    if setting.mesh is None:
        return lambda: None
    model = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), setting.federation.params)
    data = jax.device_put(jax.device_get(model), meshes.everywhere(setting.mesh))
    whole = PartitionSpec()
    added = jax.jit(
        jax.shard_map(
            lambda tree: jax.lax.psum(tree, meshes.AXIS), mesh=setting.mesh, in_specs=whole, out_specs=whole
        )
    )
    return lambda: jax.block_until_ready(added(data))


def together(workload: str, count: int, repeats: int) -> dict[str, Any]:
    """What the first of `count` processes says."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"from benchmarks import processes; processes.child{arguments!r}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for arguments in ((workload, process, count, port, repeats) for process in range(count))
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit(f"{workload} with {count} processes failed")
    return json.loads(said[0].splitlines()[-1])  # Gloo has said who is connected, on the same stream


def measure(workload: str, repeats: int) -> dict[str, Any]:
    """A row of the table; times in milliseconds."""
    one, two = (together(workload, count, repeats) for count in (1, 2))
    cohort = WORKLOADS[workload].cohort
    a_client = one["round"] / cohort
    predicted = -(-cohort // 2) * a_client + two["sum"]
    return {
        "workload": workload,
        "a client": 1000 * a_client,
        "all-reduce": 1000 * two["sum"],
        "one process": 1000 * one["round"],
        "two, predicted": 1000 * predicted,
        "two, measured": 1000 * two["round"],
        "measured / predicted": two["round"] / predicted,
        "one / two": one["round"] / two["round"],
    }


def main() -> int:
    """Measures each workload."""
    parser = timing.arguments(__doc__, "processes")
    parser.add_argument(
        "--workloads", nargs="+", choices=WORKLOADS, default=["softmax", "mlp", "femnist_cnn"]
    )
    args = parser.parse_args()
    if timing.cores() < 2:
        sys.exit("two processes with a core each need two cores")
    timing.report(args.out, [measure(name, args.repeats) for name in args.workloads])
    return 0


if __name__ == "__main__":
    sys.exit(main())
