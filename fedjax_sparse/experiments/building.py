"""An experiment from its configuration: data, population, model, algorithm; then compiled into the memory there is."""

import dataclasses
import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import errors
from fedjax_sparse.clients import state_store
from fedjax_sparse.config import registry
from fedjax_sparse.config.run_config import USUAL_CLIENTS, RunConfig
from fedjax_sparse.data import client_test, datasets
from fedjax_sparse.data import population as populations
from fedjax_sparse.devices import compilation_cache, meshes
from fedjax_sparse.models import AUTO, MODELS, USUAL, check_task, spec
from fedjax_sparse.models import model as models
from fedjax_sparse.models.model import Model
from fedjax_sparse.simulation import memory, programs
from fedjax_sparse.simulation.memory import Estimate
from fedjax_sparse.simulation.programs import Program
from fedjax_sparse.simulation.setting import Setting, make_setting
from fedjax_sparse.types import Algorithm, Federation


class Experiment(NamedTuple):
    """A configuration made real.

    Attributes:
        config: With every automatic choice filled in.
        algorithm: Ready to run.
        setting: Where it runs.
        holdings: i64[N, K] examples of each class that each client holds or, without classes, i32[N] examples.
    """

    config: RunConfig
    algorithm: Algorithm
    setting: Setting
    holdings: np.ndarray


class Ready(NamedTuple):
    """An experiment whose rounds and evaluation are compiled, and the memory that they need."""

    experiment: Experiment
    program: Program
    memory: Estimate


def build(config: RunConfig) -> Experiment:
    """Loads the data and builds everything that a run needs; nothing is compiled yet.

    Raises:
        UsageError: The data set, the partition or the model cannot be had as configured.
    """
    _set_up_jax(config)
    meshes.choose(config.devices, 1)  # devices that are not there are refused before data are loaded
    dataset = _as_configured(_dataset(config), config)
    config = _following(dataset, config)
    count = meshes.choose(config.devices, config.places)
    population = populations.make_population(
        dataset,
        config.partition,
        config.population,
        partition_seed=config.partition_seed,
        alpha=config.alpha,
        classes_per_client=config.classes_per_client,
        weighting=config.weighting,
    )
    labelled = dataset.task == "classification"
    holdings = (
        populations.class_counts(population, dataset.classes) if labelled else np.asarray(population.count)
    )
    shares = None
    if config.client_test_size is not None:
        shares = client_test.shares(dataset.y_test, holdings, config.client_test_size, config.partition_seed)
    model = _model(config, dataset)
    memory.check_model(model, config.seeds)
    setting = make_setting(
        dataset,
        model,
        population,
        rounds=config.rounds,
        cohort_size=config.places,
        participation=config.participation,
        dropout=config.dropout,
        local_epochs=config.local_epochs,
        local_steps=config.local_steps,
        batch_size=config.batch_size,
        client_lr=config.client_lr,
        client_momentum=config.client_momentum,
        client_nesterov=config.client_nesterov,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        lr_schedule=config.lr_schedule,
        epoch_lr_schedule=config.epoch_lr_schedule,
        server_opt=config.server_opt,
        server_lr=config.server_lr,
        server_momentum=config.server_momentum,
        server_decay=config.server_decay,
        server_tau=config.server_tau,
        augment=config.augment,
        encoding=config.encoding,
        chunk=None if config.chunk == "auto" else config.chunk,
        mesh=meshes.make_mesh(count),
        state_store=config.state_store,
        client_test=shares,
    )
    algorithm = _algorithm(config, setting.federation)
    on_host = config.state_store == "host"
    state_store.check_fits(
        programs.make_store(algorithm, setting),
        config.algorithm,
        clients=config.population,
        seeds=config.seeds,
        available=state_store.main_memory() if on_host else state_store.available_memory(count),
    )
    chosen = dataclasses.replace(config, chunk=setting.chunk, devices=count)
    return Experiment(chosen, algorithm, setting, holdings)


def prepare(experiment: Experiment, chunk: int | Literal["auto"]) -> Ready:
    """Compiles an experiment that fits into memory.

    Args:
        experiment: As built.
        chunk: As asked for; an automatic one is halved until the run fits.

    Raises:
        UsageError: It needs more memory than there is.
        RunError: Not even compiling it fitted into memory.
    """
    config = experiment.config
    make = functools.partial(_algorithm, config)
    compiled = memory.compile_to_fit(make, experiment.setting, config.seeds, fixed=chunk != "auto")
    compiled.memory.check()
    fitted = experiment._replace(
        config=dataclasses.replace(config, chunk=compiled.setting.chunk),
        algorithm=compiled.algorithm,
        setting=compiled.setting,
    )
    return Ready(fitted, compiled.program, compiled.memory)


def _algorithm(config: RunConfig, federation: Federation) -> Algorithm:
    return registry.load(registry.entry(config.algorithm))(federation, config.hyper)


def _set_up_jax(config: RunConfig) -> None:
    compilation_cache.enable(config.cache_dir)
    jax.config.update("jax_enable_x64", config.dtype == "float64")
    precision = None if config.matmul_precision == "default" else config.matmul_precision
    jax.config.update("jax_default_matmul_precision", precision)


def _dataset(config: RunConfig) -> datasets.Dataset:
    name, _ = spec.parse(config.model)
    return datasets.load(
        config.dataset,
        data_dir=config.data_dir,
        cache_dir=config.cache_dir,
        task=config.task,
        leaning=None if name == AUTO else MODELS[name].task,
    )


def _following(dataset: datasets.Dataset, config: RunConfig) -> RunConfig:
    """The configuration with what it leaves to the data: the model by its task, the clients by its owners."""
    name, _ = spec.parse(config.model)
    model = config.model.replace(AUTO, USUAL[dataset.task], 1) if name == AUTO else config.model
    clients = config.clients
    if clients == "auto":
        clients = USUAL_CLIENTS if dataset.client_train is None else int(dataset.client_train.max()) + 1
    return dataclasses.replace(config, model=model, clients=clients)


def _model(config: RunConfig, dataset: datasets.Dataset) -> Model:
    name, options = spec.parse(config.model)
    check_task(name, MODELS[name].task, dataset.task, dataset.name)
    return models.build(
        name,
        dataset.x_train.shape[1:],
        dataset.classes,
        dtype=jnp.dtype(config.dtype),
        compute_dtype=config.compute_dtype and jnp.dtype(config.compute_dtype),
        **options,
    )


def _as_configured(dataset: datasets.Dataset, config: RunConfig) -> datasets.Dataset:
    """The data set with its images scaled and its training examples chosen as the configuration says."""
    if config.scaling != "standard" and dataset.x_train.dtype == np.uint8:
        mean, std = (0.0, 1.0) if config.scaling == "unit" else (0.5, 0.5)
        channels = len(dataset.mean)
        dataset = dataclasses.replace(dataset, mean=(mean,) * channels, std=(std,) * channels)
    if config.train_examples is None:
        return dataset
    count = len(dataset.x_train)
    errors.check_range("--train-examples", config.train_examples, 1, count)
    first = slice(config.train_examples)
    owners = dataset.client_train
    if owners is not None:
        owners = np.unique(owners[first], return_inverse=True)[1].astype(np.int32)
    return dataclasses.replace(
        dataset, x_train=dataset.x_train[first], y_train=dataset.y_train[first], client_train=owners
    )
