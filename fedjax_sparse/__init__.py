"""Vectorised simulation of sparse federated learning in JAX.

The public names are imported when they are first used: importing JAX takes longer than `fedjax-sparse --help` may.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedjax_sparse.config.registry import make_algorithm
    from fedjax_sparse.config.run_config import RunConfig, configure
    from fedjax_sparse.config.sections import (
        Cohorts,
        Data,
        Machine,
        Partition,
        Records,
        Run,
        Server,
        Training,
    )
    from fedjax_sparse.data.datasets import load as load_dataset
    from fedjax_sparse.experiments.loading import load_run
    from fedjax_sparse.experiments.model_files import load_model, save_model
    from fedjax_sparse.models.model import build as build_model
    from fedjax_sparse.simulation.driver import simulate
    from fedjax_sparse.simulation.setting import make_population, make_setting

__version__ = "0.1.0"

# Public name -> module and name there.
_PUBLIC = {
    "Cohorts": "config.sections:Cohorts",
    "Data": "config.sections:Data",
    "Machine": "config.sections:Machine",
    "Partition": "config.sections:Partition",
    "Records": "config.sections:Records",
    "Run": "config.sections:Run",
    "RunConfig": "config.run_config:RunConfig",
    "Server": "config.sections:Server",
    "Training": "config.sections:Training",
    "build_model": "models.model:build",
    "configure": "config.run_config:configure",
    "load_dataset": "data.datasets:load",
    "load_model": "experiments.model_files:load_model",
    "load_run": "experiments.loading:load_run",
    "make_algorithm": "config.registry:make_algorithm",
    "make_population": "simulation.setting:make_population",
    "make_setting": "simulation.setting:make_setting",
    "save_model": "experiments.model_files:save_model",
    "simulate": "simulation.driver:simulate",
}

__all__ = [
    "Cohorts",
    "Data",
    "Machine",
    "Partition",
    "Records",
    "Run",
    "RunConfig",
    "Server",
    "Training",
    "__version__",
    "build_model",
    "configure",
    "load_dataset",
    "load_model",
    "load_run",
    "make_algorithm",
    "make_population",
    "make_setting",
    "save_model",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name].split(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
