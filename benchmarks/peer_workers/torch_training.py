"""The networks, the data and the local training that the PyTorch peers share."""

# pyright: reportMissingImports=false
# PyTorch is installed in the peers' environments only.

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks import timing
from benchmarks.workloads import LEARNING_RATE, WORKLOADS, Workload


def network(workload: Workload) -> nn.Module:
    """The network of `fedjax_sparse` with the same name, NCHW."""
    (height, width, channels), classes = workload.shape, workload.classes
    layers = {
        "softmax": lambda: [nn.Flatten(), nn.Linear(height * width * channels, classes)],
        "mlp": lambda: [
            nn.Flatten(),
            *(nn.Linear(height * width * channels, 128), nn.ReLU()),
            *(nn.Linear(128, 128), nn.ReLU()),
            nn.Linear(128, classes),
        ],
        "femnist_cnn": lambda: [
            *(nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(height // 4 * (width // 4) * 64, 2048), nn.ReLU()),
            nn.Linear(2048, classes),
        ],
        "pfl_cnn": lambda: [
            *(nn.Conv2d(channels, 32, 3), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
            *(nn.Flatten(), nn.Linear((height - 4) // 2 * ((width - 4) // 2) * 64, 128), nn.ReLU()),
            *(nn.Dropout(0.5), nn.Linear(128, classes)),
        ],
    }
    return nn.Sequential(*layers[workload.model]())


def parameters(model: nn.Module) -> int:
    """How many there are."""
    return sum(parameter.numel() for parameter in model.parameters())


def tensors(x: np.ndarray, y: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8[N, examples, H, W, C] -> float[N, examples, C, H, W], normalised once and for all, and its labels."""
    images = torch.from_numpy(x).permute(0, 1, 4, 2, 3)  # in memory channels stay last, where CPUs want them
    return images.to(torch.float32) / 255, torch.from_numpy(y).long()


def thread_choices() -> dict[str, Callable[[], None]]:
    """A thread for each core or, where steps are too small to be shared out, a single one."""
    return {f"threads: {n}": functools.partial(torch.set_num_threads, n) for n in (timing.cores(), 1)}


@functools.cache
def model(name: str) -> nn.Module:
    """The network of a workload, in training mode; always the same one."""
    return network(WORKLOADS[name]).to(memory_format=torch.channels_last).train()


@functools.cache
def population(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The clients' examples of a workload."""
    return tensors(*WORKLOADS[name].arrays())


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, batch: int) -> None:
    """One pass over a client's examples in shuffled batches."""
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE)
    order = torch.randperm(len(y))
    for rows in order.split(batch):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
