"""The federated work that speed is measured on, as plain arrays; only NumPy, so that peers' environments read it."""

from typing import NamedTuple

import numpy as np


class Workload(NamedTuple):
    """Synthetic images, split evenly; in a round each client of the cohort takes one pass over its examples.

    Attributes:
        shape: Of an image, (H, W, C).
        classes: Of the labels.
        model: A model of `fedjax_sparse`; peers build the same network.
        clients: N, the population.
        cohort: C, clients in a round.
        batch: B, examples in a local step.
        steps: Local steps of a client in a round; it holds `steps * batch` examples.
    """

    shape: tuple[int, int, int]
    classes: int
    model: str
    clients: int
    cohort: int
    batch: int
    steps: int

    @property
    def examples(self) -> int:
        """Examples that each client holds."""
        return self.batch * self.steps

    def arrays(self, clients: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """x: uint8[N, examples, H, W, C] and y: i32[N, examples], each client's own; always the same."""
        generator = np.random.default_rng(0)
        size = (clients or self.clients, self.examples)
        x = generator.integers(0, 256, (*size, *self.shape), np.uint8)
        return x, generator.integers(0, self.classes, size, np.int32)


WORKLOADS = {
    "softmax": Workload((28, 28, 1), 10, "softmax", clients=1000, cohort=50, batch=10, steps=5),
    "mlp": Workload((28, 28, 1), 10, "mlp", clients=100, cohort=100, batch=32, steps=10),
    "femnist_cnn": Workload((28, 28, 1), 62, "femnist_cnn", clients=100, cohort=16, batch=20, steps=5),
    "pfl_cnn": Workload((32, 32, 3), 10, "pfl_cnn", clients=1000, cohort=50, batch=10, steps=5),
    "resnet20": Workload((32, 32, 3), 10, "resnet20", clients=20, cohort=10, batch=16, steps=5),
    "resnet18": Workload((32, 32, 3), 10, "resnet18", clients=20, cohort=10, batch=16, steps=2),
}
"""By name. `pfl_cnn` is pfl-research's CIFAR-10 benchmark (Granqvist et al., arXiv 2404.06430)."""

LEARNING_RATE = 0.01
