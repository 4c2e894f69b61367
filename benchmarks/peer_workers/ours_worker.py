"""fedjax_sparse: `python ours_worker.py WORKLOAD DEVICES`: a number or, as in a run that states none, auto."""

import sys

from benchmarks import ours
from benchmarks.peer_workers import protocol
from benchmarks.workloads import WORKLOADS
from fedjax_sparse import trees
from fedjax_sparse.devices import meshes
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.setting import with_shared_chunk


def main(name: str, asked: str) -> None:
    workload = WORKLOADS[name]
    devices = meshes.choose("auto" if asked == "auto" else int(asked), workload.cohort)  # before JAX starts
    setting = with_shared_chunk(ours.setting_of(workload, devices=devices))  # as a run of FedAvg does
    run = ours.make_rounds(setting)
    size, choices = trees.size(setting.federation.params), {f"devices: {devices}": lambda: None}
    for rounds in protocol.turns(size, ("jax", "fedjax-sparse"), choices):
        for done in range(0, rounds, programs.MAX_BLOCK):
            run(min(programs.MAX_BLOCK, rounds - done))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
