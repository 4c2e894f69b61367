"""BlazeFL on PyTorch: `python blazefl_worker.py WORKLOAD`; its own federated averaging, a thread for each core.

On a free-threaded Python these run side by side; on an ordinary one they share the interpreter, which PyTorch leaves
while it computes.
"""

# pyright: reportMissingImports=false
# BlazeFL and PyTorch are installed in the peers' environments only.

import copy
import sys

import torch
from blazefl.contrib.fedavg import FedAvgBaseServerHandler, FedAvgThreadPoolClientTrainer
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from benchmarks import timing
from benchmarks.peer_workers import protocol, torch_training
from benchmarks.workloads import LEARNING_RATE, WORKLOADS

FOREVER = 10**9


class Models:
    """What BlazeFL calls a model selector: a copy of the workload's network for everybody who asks."""

    def select_model(self, model_name: str) -> torch.nn.Module:
        """In the usual order of memory, since BlazeFL sends weights as one flat view."""
        model = copy.deepcopy(torch_training.model(model_name))
        return model.to(memory_format=torch.contiguous_format)


class Clients:
    """What BlazeFL calls a partitioned data set; the test set is not asked for."""

    def __init__(self, name: str):
        self.x, self.y = torch_training.population(name)

    def get_dataloader(self, type_, cid, batch_size, generator) -> DataLoader:
        """Shuffled batches of a client, each gathered at once."""
        data = TensorDataset(self.x[cid], self.y[cid])
        rows = BatchSampler(RandomSampler(data, generator=generator), batch_size, drop_last=False)
        return DataLoader(data, sampler=rows, batch_size=None)


def main(name: str) -> None:
    workload = WORKLOADS[name]
    shared = {
        "model_selector": Models(),
        "model_name": name,
        "dataset": Clients(name),
        "num_clients": workload.clients,
        "device": "cpu",
        "batch_size": workload.batch,
        "seed": 0,
    }
    server = FedAvgBaseServerHandler(
        **shared, global_round=FOREVER, sample_ratio=workload.cohort / workload.clients
    )
    trainer = FedAvgThreadPoolClientTrainer(
        **shared, epochs=1, lr=LEARNING_RATE, num_parallels=timing.cores()
    )
    size, choices = torch_training.parameters(server.model), torch_training.thread_choices()
    for rounds in protocol.turns(size, ("blazefl", "torch"), choices):
        for _ in range(rounds):
            trainer.local_process(server.downlink_package(), server.sample_clients())
            for package in trainer.uplink_package():
                server.load(package)


if __name__ == "__main__":
    main(sys.argv[1])
