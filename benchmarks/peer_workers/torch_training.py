"""The networks, the data and the local training that the PyTorch peers share."""

# pyright: reportMissingImports=false
# PyTorch is installed in the peers' environments only.

import functools
from collections.abc import Callable, Sequence

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
        "resnet20": lambda: [*residual(channels, (16, 32, 64), 3, 8, False), nn.Linear(64, classes)],
        "resnet18": lambda: [*residual(channels, (64, 128, 256, 512), 2, 32, True), nn.Linear(512, classes)],
    }
    return nn.Sequential(*layers[workload.model]())


class Block(nn.Module):
    """A basic block; where it changes the shape, its shortcut is a 1x1 convolution or subsampling and zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, project: bool):
        super().__init__()
        self.stride, self.extra, self.projection = stride, outputs - inputs, None
        self.body = nn.Sequential(
            *normed(inputs, outputs, 3, stride, groups), nn.ReLU(), *normed(outputs, outputs, 3, 1, groups)
        )
        if project and self.extra:
            self.projection = nn.Sequential(*normed(inputs, outputs, 1, stride, groups))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        shortcut = x
        if self.projection is not None:
            shortcut = self.projection(x)
        elif self.extra:
            around = (self.extra // 2, self.extra - self.extra // 2)
            shortcut = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *around))
        return nn.functional.relu(self.body(x) + shortcut)


def normed(inputs: int, outputs: int, window: int, stride: int, groups: int) -> list[nn.Module]:
    """A convolution without bias and its GroupNorm."""
    conv = nn.Conv2d(inputs, outputs, window, stride, padding=window // 2, bias=False)
    return [conv, nn.GroupNorm(groups, outputs)]


def residual(
    channels: int, widths: Sequence[int], blocks: int, groups: int, project: bool
) -> list[nn.Module]:
    """A ResNet for small images up to its last layer; every stage but the first halves the image."""
    layers: list[nn.Module] = [*normed(channels, widths[0], 3, 1, groups), nn.ReLU()]
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        for block in range(blocks):
            layers.append(Block(inputs, outputs, 2 if stage > 0 and block == 0 else 1, groups, project))
            inputs = outputs
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


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
