"""An experiment from its configuration: data, population, model, algorithm; then compiled into the memory there is."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import errors
from fedjax_sparse.clients import state_store
from fedjax_sparse.config import network_files, registry
from fedjax_sparse.config import run_config as configs
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.config.sections import Data, Partition
from fedjax_sparse.costs.networks import Network
from fedjax_sparse.data import client_test, datasets, images, subsets
from fedjax_sparse.data import outline as outlines
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.columns import Roles
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.data.population import Population
from fedjax_sparse.devices import compilation_cache, meshes
from fedjax_sparse.models import AUTO, MODELS, USUAL, check_task, spec
from fedjax_sparse.models import model as models
from fedjax_sparse.models.model import Model
from fedjax_sparse.models.starting import starting_from
from fedjax_sparse.simulation import evaluation, memory, programs
from fedjax_sparse.simulation.memory import Estimate
from fedjax_sparse.simulation.programs import Program
from fedjax_sparse.simulation.setting import (
    EVAL_BATCH,
    Setting,
    make_population,
    make_setting,
    with_shared_chunk,
)
from fedjax_sparse.types import Algorithm, Federation, Variables


class Experiment(NamedTuple):
    """A configuration made real.

    Attributes:
        config: With every automatic choice filled in.
        algorithm: Ready to run.
        setting: Where it runs.
        holdings: i64[N, K] examples of each class that each client holds or, without classes, i32[N] examples.
        outline: Of the data set, see `data.outline`.
    """

    config: RunConfig
    algorithm: Algorithm
    setting: Setting
    holdings: np.ndarray
    outline: Mapping[str, Any]


class Dealt(NamedTuple):
    """A data set, its clients, and `holdings` as in `Experiment`."""

    dataset: Dataset
    population: Population
    holdings: np.ndarray


class Ready(NamedTuple):
    """An experiment whose rounds and evaluation are compiled, and the memory that they need."""

    experiment: Experiment
    program: Program
    memory: Estimate


def as_it_is(dataset: Dataset) -> Dataset:
    """A run trains on all training examples, and tests on the test set."""
    return dataset


def build(
    config: RunConfig, initial: Variables | None = None, split: Callable[[Dataset], Dataset] = as_it_is
) -> Experiment:
    """Loads the data and builds everything that a run needs; nothing is compiled yet.

    Args:
        config: What to build.
        initial: What models begin from, see `starting`; None for their own initialisation.
        split: What is trained and tested on, of the data set as the configuration has it.

    Raises:
        UsageError: The data set, the partition or the model cannot be had as configured.
    """
    _set_up_jax(config.data)
    # What is not there is refused before data are loaded.
    meshes.choose(config.machine.devices, 1)
    network = None if config.run.network is None else network_files.load(config.run.network)
    data = dealt(config.data, config.partition, split)
    made = _assembled(config, data, initial, network)
    setting, algorithm = made.setting, made.algorithm
    tested = _as_tested(setting, config, data.dataset, data.holdings, own_models=algorithm.personal)
    on_host = setting.state_store == "host"
    state_store.check_fits(
        programs.make_store(algorithm, setting),
        config.algorithm,
        clients=setting.federation.population,
        seeds=config.run.seeds,
        available=state_store.main_memory() if on_host else state_store.available_memory(setting.devices),
    )
    return made._replace(setting=tested)


def build_without_data(config: RunConfig, outline: Mapping[str, Any], sizes: Sequence[int]) -> Experiment:
    """The experiment of a run that is on disk, whose states have its shapes: it can be neither run nor tested.

    Args:
        config: As recorded.
        outline: Of its data set, see `data.outline`.
        sizes: Examples of each client.

    Raises:
        UsageError: The model or the algorithm cannot be had as configured.
    """
    _set_up_jax(config.data)
    dataset = outlines.blank(outline)
    parts = [np.zeros(size, np.int32) for size in sizes]  # of the one example that there is
    population = populations.build(dataset.x_train, dataset.y_train, parts)
    return _assembled(config, Dealt(dataset, population, np.asarray(sizes)))


def _assembled(
    config: RunConfig, data: Dealt, initial: Variables | None = None, network: Network | None = None
) -> Experiment:
    """Model, setting and algorithm of the data, with automatic choices made, before tests are added."""
    dataset, population, holdings = data
    clients = len(population.count)
    config = configs.changed(config, model=_model_name(config.data, dataset), clients=clients)
    model = _model(config.data, dataset)
    if initial is not None:
        model = starting_from(model, initial, f"--init = {config.data.init}")
    memory.check_model(model, config.run.seeds)
    setting = make_setting(
        dataset,
        model,
        population,
        cohorts=config.cohorts,
        training=config.training,
        server=config.server,
        machine=config.machine,
        encoding=config.run.encoding,
        network=network,
    )
    if config.machine.chunk == "auto" and registry.entry(config.algorithm).plain_sgd:
        setting = with_shared_chunk(setting)
    algorithm = _algorithm(config, setting.federation)
    chosen = configs.changed(config, chunk=setting.chunk, devices=setting.devices)
    return Experiment(chosen, algorithm, setting, holdings, outlines.of(dataset))


def dealt(data: Data, partition: Partition, split: Callable[[Dataset], Dataset] = as_it_is) -> Dealt:
    """Loads the data and deals the training examples to clients; `split` as of `build`.

    Raises:
        UsageError: The data set or the partition cannot be had as configured.
    """
    dataset = split(_as_configured(_load(data), data))
    population = make_population(dataset, partition)
    return Dealt(dataset, population, _holdings(population, dataset))


def prepare(experiment: Experiment, chunk: int | Literal["auto"]) -> Ready:
    """Compiles an experiment that fits into memory.

    Args:
        experiment: As built.
        chunk: As asked for; an automatic one is halved until the run fits.

    Raises:
        TooLargeError: It needs more memory than there is.
        OutOfMemoryError: Not even compiling it fitted into memory.
    """
    config = experiment.config
    make = functools.partial(_algorithm, config)
    compiled = memory.compile_to_fit(make, experiment.setting, config.run.seeds, fixed=chunk != "auto")
    compiled.memory.check()
    fitted = experiment._replace(
        config=configs.changed(config, chunk=compiled.setting.chunk),
        algorithm=compiled.algorithm,
        setting=compiled.setting,
    )
    return Ready(fitted, compiled.program, compiled.memory)


def _as_tested(
    setting: Setting, config: RunConfig, dataset: Dataset, holdings: np.ndarray, *, own_models: bool
) -> Setting:
    """The setting with the tests asked for; clients with models of their own always have tests of their own."""
    run, own, seed = config.run, None, config.partition.partition_seed
    if run.client_test_size is not None:
        own = client_test.rows(dataset.y_test, holdings, run.client_test_size, seed)
    elif own_models or run.tuned_accuracy:
        own = client_test.automatic_rows(dataset.y_test, holdings, seed)
    if run.class_metrics and dataset.task != "classification":
        raise errors.UsageError(
            f"--class-metrics needs classes, and {dataset.name} is for {dataset.task}; allowed: no --class-metrics"
        )
    if own_models and run.objective:
        raise errors.UsageError(
            f"--objective needs one model, and clients of {config.algorithm} deploy their own; allowed: no --objective"
        )
    objective = None
    if run.objective:
        objective = evaluation.objective_of(setting.population, config.training.weight_decay, EVAL_BATCH)
    return setting._replace(
        test=setting.test._replace(own=own, objective=objective),
        tuned_accuracy=run.tuned_accuracy,
        class_metrics=dataset.classes if run.class_metrics else None,
    )


def _algorithm(config: RunConfig, federation: Federation) -> Algorithm:
    return registry.load(registry.entry(config.algorithm))(federation, config.hyper)


def _set_up_jax(data: Data) -> None:
    compilation_cache.enable(data.cache_dir)
    jax.config.update("jax_enable_x64", data.dtype == "float64")
    precision = None if data.matmul_precision == "default" else data.matmul_precision
    jax.config.update("jax_default_matmul_precision", precision)


def _load(data: Data) -> Dataset:
    name, _ = spec.parse(data.model)
    return datasets.load(
        data.dataset,
        data_dir=data.data_dir,
        cache_dir=data.cache_dir,
        task=data.task,
        leaning=None if name == AUTO else MODELS[name].task,
        roles=Roles(data.label_column, data.owner_column),
    )


def _model_name(data: Data, dataset: Dataset) -> str:
    """The model of the configuration or, where that leaves it open, the usual one of the data set's task."""
    name, _ = spec.parse(data.model)
    return data.model.replace(AUTO, USUAL[dataset.task], 1) if name == AUTO else data.model


def _model(data: Data, dataset: Dataset) -> Model:
    name, options = spec.parse(data.model)
    check_task(name, MODELS[name].task, dataset.task, dataset.name)
    return models.build(
        name,
        dataset.x_train.shape[1:],
        dataset.classes,
        dtype=jnp.dtype(data.dtype),
        compute_dtype=data.compute_dtype and jnp.dtype(data.compute_dtype),
        **options,
    )


def _as_configured(dataset: Dataset, data: Data) -> Dataset:
    """The data set with its images scaled and its training examples chosen as the configuration says."""
    if data.augment:
        dataset = dataclasses.replace(dataset, augment=True)
    if data.image_shrink > 1:
        dataset = images.shrunk(dataset, data.image_shrink)
    if data.scaling != "standard" and dataset.x_train.dtype == np.uint8:
        mean, std = (0.0, 1.0) if data.scaling == "unit" else (0.5, 0.5)
        channels = len(dataset.mean)
        dataset = dataclasses.replace(dataset, mean=(mean,) * channels, std=(std,) * channels)
    if data.train_examples is None:
        return dataset
    errors.check_range("--train-examples", data.train_examples, 1, len(dataset.x_train))
    return subsets.of_training(dataset, slice(data.train_examples))


def _holdings(population: Population, dataset: Dataset) -> np.ndarray:
    """As in `Experiment`."""
    if dataset.task == "classification":
        return populations.class_counts(population, dataset.classes)
    return np.asarray(population.count)
