"""A federated problem small enough that every algorithm compiles in a second or two: seven clients, two layers."""

from __future__ import annotations

import warnings
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.config import registry
from fedjax_sparse.config.run_config import make_sections
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.models import model as models
from fedjax_sparse.simulation.setting import Setting, make_setting
from fedjax_sparse.types import Algorithm

SIZES = (9, 8, 7, 6, 5, 4, 1)
ROUNDS = 4


def dataset() -> Dataset:
    """Three classes of points in four dimensions, 40 to train on and 10 to test."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 50).astype(np.int32)
    x = (rng.normal(size=(50, 4)) + 2 * np.eye(4)[y]).astype(np.float64)
    x_train, y_train, x_test, y_test = x[:40], y[:40], x[40:], y[40:]
    return Dataset("toy", x_train, y_train, x_test, y_test, "classification", 3, None, (0.0,), (1.0,))


def setting(dtype: Any = jnp.float64, compute_dtype: Any = None, **options: Any) -> Setting:
    """The problem with a cohort of 4 of 7 clients, two local epochs in batches of 3, and 4 rounds, or other options."""
    data = dataset()
    parts = np.split(np.arange(40), np.cumsum(SIZES)[:-1])
    population = populations.build(data.x_train, data.y_train, parts)
    model = models.build("mlp", (4,), 3, dtype=dtype, compute_dtype=compute_dtype, hidden=(5,))
    defaults: dict[str, Any] = {"rounds": ROUNDS, "cohort_size": 4, "local_epochs": 2, "batch_size": 3}
    return make_setting(data, model, population, **make_sections(defaults | options))


def algorithm(name: str, setting: Setting, **hyper: Any) -> Algorithm:
    """A registered algorithm in that setting; that a cohort is not everyone is no news here."""
    entry = registry.entry(name)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "control variates with partial participation")
        return registry.load(entry)(setting.federation, entry.hyperparameters(**hyper))


def leaves_close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    """Floats equal to rounding and, with a tolerance that small, everything else exactly."""
    chex.assert_trees_all_close(a, b, rtol=tolerance, atol=tolerance)
