"""fedjax_sparse: `python ours_worker.py WORKLOAD DEVICES`, the cores of the CPU being shared out to the devices."""

import sys

import jax

from benchmarks import ours
from benchmarks.peer_workers import protocol
from benchmarks.workloads import WORKLOADS
from fedjax_sparse import trees
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.setting import with_shared_chunk


def main(name: str, devices: int) -> None:
    jax.config.update("jax_num_cpu_devices", devices)
    setting = with_shared_chunk(ours.setting_of(WORKLOADS[name], devices=devices))  # as a run of FedAvg does
    run = ours.make_rounds(setting)
    for rounds in protocol.turns(trees.size(setting.federation.params), ("jax", "fedjax-sparse")):
        for done in range(0, rounds, programs.MAX_BLOCK):
            run(min(programs.MAX_BLOCK, rounds - done))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
