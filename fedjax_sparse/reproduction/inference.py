"""How long a multilayer perceptron takes for a batch, its kernels dense or in a sparse form. No JAX here."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Layer = tuple[np.ndarray, np.ndarray]  # kernel f32[I, O] and bias f32[O]
REPEATS = 50


def batch_seconds(layers: Sequence[Layer], x: np.ndarray, form: Callable[[np.ndarray], Any]) -> float:
    """Seconds of one forward pass, the fastest of some: whatever else the machine does can only add to it.

    Args:
        layers: With ReLU between them.
        x: f32[B, I], the batch.
        form: What a turned kernel [O, I] is stored as: `np.ascontiguousarray`, or `scipy.sparse.csr_array`.
    """
    stored = [(form(kernel.T), bias[:, None]) for kernel, bias in layers]
    columns = np.ascontiguousarray(x.T)
    return min(timeit.repeat(lambda: logits(stored, columns), number=1, repeat=REPEATS))


def logits(stored: Sequence[tuple[Any, np.ndarray]], columns: np.ndarray) -> np.ndarray:
    """The last layer's outputs [O, B] for inputs [I, B], by kernels [O, I] and biases [O, 1]."""
    (weights, bias), *others = stored
    hidden = weights @ columns + bias
    for weights, bias in others:
        hidden = weights @ np.maximum(hidden, 0) + bias
    return hidden
