"""What a run's rounds need on a platform that is not at hand: compiled ahead of time, never run.

    python -m benchmarks.ahead                                        # this CPU
    pip install libtpu && python -m benchmarks.ahead --platform v5e   # one chip of a TPU that is not there
    python -m benchmarks.ahead --platform v5e --chips 4 --workloads pfl_cnn --forms product grouped --chunks 8 50

The compiler of TPUs is a public package and works on an ordinary machine (`jax.experimental.topologies`; take the
version that JAX names: `pip install "jax[tpu]"`). A GPU's needs the GPU. Each row is a block of rounds as a run
compiles it: CPU seconds of tracing and compiling (all threads together), bytes that stay on a device and that are
needed besides, and XLA's own account of FLOPs and of bytes accessed, which counts the body of a loop once: compare
rows of one workload, chunk and platform. `product` and `grouped` are the forms of clients' convolutions, im2col with a
matrix product or JAX's grouped convolution. All are predictions; what fails is a row too, with its reason.
"""

import os

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nobody asks a cloud about this machine
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a TPU's compiler is no TPU

import argparse
import contextlib
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from benchmarks import timing
from benchmarks.accelerator import PARTS, network
from benchmarks.ours import setting_of
from benchmarks.workloads import WORKLOADS
from fedjax_sparse import make_algorithm
from fedjax_sparse.devices import platforms
from fedjax_sparse.devices.meshes import AXIS
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.setting import with_chunk

# By name: the smallest topology that the compiler knows, and the memory of a chip in GB.
TOPOLOGIES = {
    "v4": ("v4:2x2x1", 32),
    "v5e": ("v5e:2x2", 16),
    "v5p": ("v5p:2x2x1", 95),
    "v6e": ("v6e:2x2", 32),
}
SYSTEMS = ("sparse-proxskip", "sparsyfed", "flare", "fedsparsify-global", "salientgrads")
CASES = {**WORKLOADS, "resnet18": PARTS["resnet"]}
FORMS = ("product", "grouped")
MEASURED = ("chunk", "compile CPU s", "kept MB", "temporary MB", "GFLOP", "GB accessed", "failed")


@contextlib.contextmanager
def made_for(name: str, chips: int) -> Iterator[Mesh | None]:
    """The mesh of a platform, with programs made for it inside; None for this machine's CPU.

    Raises:
        SystemExit: The compiler is not installed, or the topology is smaller.
    """
    if name == "cpu":
        yield None
        return
    try:
        devices = topologies.get_topology_desc(TOPOLOGIES[name][0], platform="tpu").devices
    except Exception as error:
        raise SystemExit(
            f"no compiler for {name}: pip install libtpu ({str(error).splitlines()[0]})"
        ) from error
    if chips > len(devices):
        raise SystemExit(f"--chips = {chips} is more than the {len(devices)} of {TOPOLOGIES[name][0]}")
    with platforms.assume(platforms.accelerator("tpu")):
        yield Mesh(np.array(devices[:chips]), (AXIS,))


def compiled(
    algorithm: str, workload: str, form: str, chunk: int | None, mesh: Mesh | None
) -> dict[str, Any]:
    """The needs of one program, by column."""
    case = CASES[workload]
    setting = setting_of(case, model=network(case, "float32", form == "grouped"))._replace(mesh=mesh)
    share = -(-setting.sampler.capacity // setting.devices)
    setting = with_chunk(setting, min(chunk or setting.chunk, share))
    start = time.process_time()
    program, footprint = programs.compile_ahead(make_algorithm(algorithm, setting.federation), setting)
    seconds = time.process_time() - start
    account = program.dispatch.cost_analysis()
    memory = [footprint.kept / 1e6, footprint.temporary / 1e6]
    work = [account.get("flops", 0) / 1e9, account.get("bytes accessed", 0) / 1e9]
    return dict(zip(MEASURED, [setting.chunk, round(seconds, 1), *memory, *work, None], strict=True))


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One for each combination of what is asked for."""
    with made_for(given.platform, given.chips) as mesh:
        chosen = itertools.product(given.workloads, given.forms, given.chunks or [None], given.algorithms)
        for workload, form, chunk, algorithm in chosen:
            row = {
                "platform": f"{given.chips} x {given.platform}",
                "workload": workload,
                "form": form,
                "algorithm": algorithm,
                **dict.fromkeys(MEASURED),
            }
            try:
                row |= compiled(algorithm, workload, form, chunk, mesh)
            except Exception as error:
                row |= {
                    "chunk": chunk,
                    "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}",
                }
            jax.clear_caches()
            print(*(f"{name} {value}" for name, value in row.items()), sep=", ", file=sys.stderr, flush=True)
            yield row


def main(args: Sequence[str] | None = None) -> None:
    """Compiles what is asked for and reports it."""
    parser = timing.arguments(__doc__, "ahead")
    parser.add_argument("--platform", choices=("cpu", *TOPOLOGIES), default="cpu", help="what to compile for")
    parser.add_argument("--chips", type=timing.at_least(1), default=1, help="devices that share a cohort")
    parser.add_argument("--workloads", nargs="+", choices=CASES, default=["mlp", "pfl_cnn"])
    parser.add_argument("--algorithms", nargs="+", default=["fedavg", *SYSTEMS])
    parser.add_argument(
        "--forms", nargs="+", choices=FORMS, default=FORMS[:1], help="of clients' convolutions"
    )
    parser.add_argument(
        "--chunks", nargs="+", type=timing.at_least(1), help="clients at once; by default as a run's"
    )
    given = parser.parse_args(args)
    timing.report(given.out, list(rows(given)))


if __name__ == "__main__":
    main()
