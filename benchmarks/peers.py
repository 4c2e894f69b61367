"""The same federated work in fedjax_sparse, plain PyTorch, pfl-research, BlazeFL, Flower, FedJAX and DrJAX, on a CPU.

    python -m benchmarks.peers                                  # the latest FedJAX release, on an old JAX
    python -m benchmarks.peers --torch-index URL                # PyTorch's build without CUDA
    python -m benchmarks.peers --fedjax PATH                    # a checkout of FedJAX, on the JAX of this environment
    python -m benchmarks.peers --peers torch --workloads mlp    # a part

Everyone trains the same network (the numbers of parameters are compared) with plain SGD, one pass over shuffled
batches at each client of a random cohort, and averages; nobody evaluates. A framework runs in a process of its own, in
an environment that the first call makes (pip; a few minutes and 5 GB). On Linux PyTorch's default build is the one for
CUDA, several GB more: `--torch-index URL` takes PyTorch from the index of CPU builds that pytorch.org's install page
names. Give it in every call: environments are made anew where what was asked for changes.

For a workload all processes start, compile and train two rounds; then they take turns, `--turn` seconds each, in which
the others are stopped. `ours` has the flags of a run that states none, whose devices are the cores; `ours, 1 device` is
one device that has them all. Flower's clients train in Ray actors, one for each core; Ray's start is not counted.
BlazeFL's train in threads, side by side where a free-threaded Python (python3.14t) is on the path; else it is made of
the latest Python there, which up to 3.13 has version 2. FedJAX and DrJAX have no networks with residual blocks here.

About half an hour on two cores once the environments are there. Targets, on two cores: softmax regression at least 20
times as fast as pfl and 10 times as FedJAX's main branch, the perceptron 5.5 times as PyTorch, FEMNIST's CNN 1.6, pfl's
1.3 and the ResNets 1.1 times as the fastest peer; ahead of BlazeFL and DrJAX everywhere.
"""

import argparse
import importlib.metadata
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.peer_workers.process import Framework, PeerError, Worker
from benchmarks.timing import Times
from benchmarks.workloads import WORKLOADS

TURN = 3.0  # seconds: caches recover from others' turns, and ours runs several rounds at once

TORCH = ["torch==2.13.0", "numpy"]  # first, lest something else choose a build with CUDA
OLD_JAX = ["fedjax==0.0.17", "jax==0.5.3", "jaxlib==0.5.3", "dm-haiku==0.0.14"]
PYTHONS_OF_BLAZEFL = {  # in the order of preference
    "python3.14t": "3.0.0",
    "python3.14": "3.0.0",
    "python3.13": "2.0.3",
    "python3.12": "2.0.3",
}


def frameworks(fedjax: Path | None = None, torch_index: str | None = None) -> dict[str, Framework]:
    """By name.

    Args:
        fedjax: A checkout, which runs on the JAX of this environment; None takes the release and an old JAX.
        torch_index: Where PyTorch comes from; None leaves it to pip's configuration.
    """
    this_jax = f"jax=={importlib.metadata.version('jax')}"
    if fedjax is None:
        jax_peer = Framework("fedjax_worker.py", (), (OLD_JAX,), "fedjax-release", "old JAX")
    else:
        commit = commit_of(fedjax)
        note = f"checkout {commit[:12]}".rstrip()
        jax_peer = Framework(
            "fedjax_worker.py", (), ([this_jax, str(fedjax)],), "fedjax-checkout", note, commit
        )
    torch = TORCH if torch_index is None else ["--index-url", torch_index, *TORCH]
    return {
        "ours": Framework("ours_worker.py", ("auto",)),
        "ours, 1 device": Framework("ours_worker.py", ("1",)),
        "torch": Framework("torch_worker.py", (), (torch,), "torch"),
        "pfl": Framework("pfl_worker.py", (), (torch, ["pfl==0.6.0"]), "pfl"),
        "blazefl": _blazefl(torch),
        "drjax": Framework(
            "drjax_worker.py", (), ([this_jax, "drjax==0.2.1", "dm-haiku==0.0.17", "optax"],), "drjax"
        ),
        "fedjax": jax_peer,
        "flower": Framework(
            "flower_worker.py", (), (torch, ["flwr[simulation]==1.41.0", "ray==2.55.1"]), "flower"
        ),
    }


def _blazefl(torch: list[str]) -> Framework:
    """On the first of its Pythons that is on the path; where none is, installing it says which it needs."""
    there = [name for name in PYTHONS_OF_BLAZEFL if shutil.which(name)]
    python = there[0] if there else sys.executable
    packages = [f"blazefl[contrib,reproducibility]=={PYTHONS_OF_BLAZEFL.get(python, '3.0.0')}"]
    name = Path(python).name
    return Framework("blazefl_worker.py", (), (torch, packages), f"blazefl-{name}", note=name, python=python)


def checkout(text: str) -> Path:
    """A type of option: a folder, in full, since pip takes the bare name of one for a package."""
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no folder")
    return path


def commit_of(folder: Path) -> str:
    """Where the folder's Git repository stands; empty where there is none."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class Entry:
    """A framework at one workload: what it took for each turn or, once something has gone wrong, why it did."""

    def __init__(self, framework: Framework, workload: str, envs: Path, seconds: float = TURN):
        self.framework, self.workload, self.envs, self.turn_seconds = framework, workload, envs, seconds
        self.worker: Worker | None = None
        self.seconds: list[float] = []
        self.failure = ""

    def attempt(self, action: Callable[[], None]) -> None:
        """Remembers a failure, and does nothing after one."""
        if not self.failure:
            try:
                action()
            except PeerError as error:
                self.failure = str(error)

    def start(self) -> None:
        """Gets the process ready, and its environment beforehand."""
        self.worker = Worker(self.framework, self.workload, self.envs)

    def turn(self) -> None:
        """Times as many rounds as take about the seconds of a turn."""
        assert self.worker is not None
        rounds = max(round(self.turn_seconds / self.worker.ready["seconds"]), 1)
        self.seconds.append(self.worker.run(rounds) / rounds)

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self.worker is not None:
            self.worker.end()


def measure(
    workload: str, chosen: Mapping[str, Framework], envs: Path, repeats: int, seconds: float = TURN
) -> list[dict[str, Any]]:
    """A row for each framework; of one that failed, with the reason. A turn takes about so many `seconds`."""
    entries = {label: Entry(framework, workload, envs, seconds) for label, framework in chosen.items()}
    try:
        for entry in entries.values():
            entry.attempt(entry.start)
        check_parameters(entries)
        for _ in range(repeats):
            for entry in entries.values():
                entry.attempt(entry.turn)
    finally:
        for entry in entries.values():
            entry.end()
    medians = {label: Times(tuple(e.seconds)).median for label, e in entries.items() if not e.failure}
    return [row(label, entry, medians) for label, entry in entries.items()]


def check_parameters(entries: Mapping[str, Entry]) -> None:
    """Ends the program unless everyone trains a network of the same size."""
    counts = {label: entry.worker.ready["parameters"] for label, entry in entries.items() if entry.worker}
    if len(set(counts.values())) > 1:
        sys.exit(f"the networks differ in their number of parameters: {counts}")


def row(label: str, entry: Entry, medians: Mapping[str, float]) -> dict[str, Any]:
    """Of the table; `time / ours` above 1 means that ours is faster. `medians`: seconds a round, by framework."""
    own = medians.get(label)
    made_of = [*entry.worker.ready["made_of"], entry.framework.note] if entry.worker else []
    return {
        "workload": entry.workload,
        "framework": label,
        "ms a round": own and 1000 * own,
        "clients/s": own and WORKLOADS[entry.workload].cohort / own,
        **{
            f"time / {ours}": own / medians[ours] if own and ours in medians else None
            for ours in frameworks()
            if ours.startswith("ours")
        },
        "made of": entry.failure or ", ".join(filter(None, made_of)),
    }


def main() -> int:
    """Makes what environments are missing, runs everything and prints the table."""
    parser = timing.arguments(__doc__, "peers")
    everyone = [name for name in frameworks() if not name.startswith("ours")]
    parser.add_argument("--peers", nargs="+", choices=everyone, default=everyone)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument(
        "--fedjax",
        type=checkout,
        help="a checkout of FedJAX, in place of the release; installed anew when its commit changes",
    )
    parser.add_argument(
        "--torch-index",
        metavar="URL",
        help="the index of CPU builds, see pytorch.org's install page; by default pip's own configuration",
    )
    parser.add_argument("--turn", type=float, default=TURN, metavar="SECONDS", help="of work in each turn")
    parser.add_argument("--envs", type=Path, default=Path("runs/peers-envs"), help="folder of environments")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or workers would stay behind, stopped
    args.envs.mkdir(parents=True, exist_ok=True)
    chosen = {
        name: framework
        for name, framework in frameworks(args.fedjax, args.torch_index).items()
        if name.startswith("ours") or name in args.peers
    }
    rows = [
        row for name in args.workloads for row in measure(name, chosen, args.envs, args.repeats, args.turn)
    ]
    timing.report(args.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
