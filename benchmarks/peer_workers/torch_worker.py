"""Plain PyTorch: `python torch_worker.py WORKLOAD`; one process, one client after another, on one thread or all."""

# pyright: reportMissingImports=false
# PyTorch is installed in the peers' environments only.

import sys

import torch

from benchmarks.peer_workers import protocol, torch_training
from benchmarks.workloads import WORKLOADS


def main(name: str) -> None:
    workload = WORKLOADS[name]
    x, y = torch_training.population(name)
    model = torch_training.model(name)
    size, choices = torch_training.parameters(model), torch_training.thread_choices()
    for rounds in protocol.turns(size, ("torch",), choices):
        for _ in range(rounds):
            one_round(model, x, y, workload.cohort, workload.batch)


def one_round(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, cohort: int, batch: int) -> None:
    """The mean of the models that a random cohort trains takes the model's place."""
    weights = [parameter.data for parameter in model.parameters()]
    server = [weight.clone() for weight in weights]
    total = [torch.zeros_like(weight) for weight in weights]
    for client in torch.randperm(len(x))[:cohort].tolist():
        torch._foreach_copy_(weights, server)
        torch_training.train(model, x[client], y[client], batch)
        torch._foreach_add_(total, weights)
    torch._foreach_copy_(weights, torch._foreach_div(total, cohort))


if __name__ == "__main__":
    main(sys.argv[1])
