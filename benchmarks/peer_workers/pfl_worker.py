"""pfl-research on PyTorch: `python pfl_worker.py WORKLOAD`; one process, on one thread or all."""

# pyright: reportMissingImports=false
# pfl and PyTorch are installed in the peers' environments only.

import sys
from collections.abc import Iterator

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel

from benchmarks.peer_workers import protocol, torch_training
from benchmarks.workloads import LEARNING_RATE, WORKLOADS

FOREVER = 10**9


class Network(torch.nn.Module):
    """What pfl asks of a model: its loss, and metrics, which it computes in its first round only, before any timing."""

    def __init__(self, layers: torch.nn.Module):
        super().__init__()
        self.layers = layers

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean over a batch."""
        return torch.nn.functional.cross_entropy(self.layers(x), y)

    @torch.no_grad()
    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Weighted]:
        """What is summed over users."""
        return {"loss": Weighted(self.loss(x, y).item() * len(y), len(y))}


class Turns(TrainingProcessCallback):
    """Lets as many rounds pass as were asked for, then waits to be asked again; when nobody asks, the run ends."""

    def __init__(self, requests: Iterator[int]):
        self.requests = requests
        self.left = next(requests)

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        """Called by pfl; says whether to stop."""
        del aggregate_metrics, model, central_iteration
        self.left -= 1
        if self.left == 0:
            self.left = next(self.requests, 0)
        return self.left == 0, Metrics()


def main(name: str) -> None:
    workload = WORKLOADS[name]
    x, y = torch_training.population(name)

    def user(client: int) -> PyTorchTensorDataset:
        order = torch.randperm(workload.examples)
        return PyTorchTensorDataset((x[client][order], y[client][order]), user_id=str(client))

    data = FederatedDataset(user, get_user_sampler("random", list(range(workload.clients))))
    network = Network(torch_training.model(name))
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    size, choices = torch_training.parameters(network), torch_training.thread_choices()
    requests = protocol.turns(size, ("pfl", "torch"), choices)
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=FOREVER,
            evaluation_frequency=FOREVER,
            train_cohort_size=workload.cohort,
            val_cohort_size=0,
        ),
        SimulatedBackend(data, data),
        model,
        NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=LEARNING_RATE, local_batch_size=workload.batch
        ),
        callbacks=[Turns(requests)],
    )


if __name__ == "__main__":
    main(sys.argv[1])
