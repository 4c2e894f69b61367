"""One run from its configuration to its folder: build, drive, record, stop, resume."""

import contextlib
import dataclasses
import datetime
import functools
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from fedjax_sparse import errors
from fedjax_sparse.clients import state_store
from fedjax_sparse.config import registry
from fedjax_sparse.config import run_config as configs
from fedjax_sparse.config.cluster import Cluster
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.data import client_test, datasets
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.population import Padding, padding
from fedjax_sparse.devices import compilation_cache, meshes
from fedjax_sparse.devices.cluster import joined
from fedjax_sparse.experiments import interrupts
from fedjax_sparse.experiments.progress import display, facts
from fedjax_sparse.models import model as models
from fedjax_sparse.models import spec
from fedjax_sparse.models.model import Model
from fedjax_sparse.records import run_folder
from fedjax_sparse.records.recorder import Recorder
from fedjax_sparse.records.run_folder import RunFolder
from fedjax_sparse.results import figures
from fedjax_sparse.simulation import memory, programs
from fedjax_sparse.simulation.memory import Estimate
from fedjax_sparse.simulation.programs import Program, Resume
from fedjax_sparse.simulation.setting import Setting, make_setting
from fedjax_sparse.types import Algorithm, Federation

STDERR = Console(stderr=True)
ALONE = Cluster()


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
    dataset = _as_configured(
        datasets.load(config.dataset, data_dir=config.data_dir, cache_dir=config.cache_dir), config
    )
    population = populations.make_population(
        dataset,
        config.partition,
        config.clients,
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
    count = meshes.choose(config.devices, config.places)
    setting = make_setting(
        dataset,
        _model(config, dataset),
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
        clients=config.clients,
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


def _model(config: RunConfig, dataset: datasets.Dataset) -> Model:
    name, options = spec.parse(config.model)
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


def run(config: RunConfig, command: Sequence[str], cluster: Cluster = ALONE) -> int:
    """Runs a configuration in a new folder.

    Args:
        config: What to run.
        command: As typed, for the manifest.
        cluster: The processes that share the run. The first one records it; the others keep nothing.

    Returns:
        The exit code: 0, 1 if a seed diverged, or that of the signal that stopped the run.

    Raises:
        UsageError: The configuration cannot be run; no folder is left behind.
        RunError: The run failed.
    """
    with joined(cluster, config.devices), _records_at(config.out or _new_folder(config)) as out:
        return _run(config, out, command)


def _run(config: RunConfig, out: Path, command: Sequence[str]) -> int:
    ready = prepare(build(config), config.chunk)
    experiment = ready.experiment
    table = configs.to_toml_dict(dataclasses.replace(experiment.config, out=str(out)))
    kind, count = jax.devices()[0].device_kind, experiment.setting.devices
    folders = run_folder.create(out, table, _seeds(config), command, device_kind=kind, device_count=count)
    for folder in folders:
        run_folder.write_clients(folder.path, experiment.holdings)
    return _drive(ready, out, Recorder(folders, table), start=None)


def resume(
    out: Path, command: Sequence[str], cluster: Cluster = ALONE, chunk: int | Literal["auto"] | None = None
) -> int:
    """Goes on with a run that was stopped or killed, bit for bit as if it never had been.

    Args:
        out: The run's folder, which all processes of a cluster can read.
        command: As typed, for the manifest.
        cluster: The processes that share the run.
        chunk: Clients trained at once from here on, which changes only rounding; None for as many as before. The
            run's configuration stays what it was.

    Returns:
        The exit code, as of `run`.

    Raises:
        UsageError: There is no run here, or its configuration was changed.
        RunError: No checkpoint can be read.
    """
    table, _ = run_folder.open_run(out)
    with joined(cluster, configs.from_toml_dict(table).devices), _records_at(out) as here:
        if here != out:
            run_folder.copy_to_read(out, here)
        meshes.anywhere(False)  # nobody changes the folder before all have read it
        return _resume(here, command, chunk)


def _resume(out: Path, command: Sequence[str], chunk: int | Literal["auto"] | None) -> int:
    table, folders = run_folder.open_run(out)
    recorder = Recorder(folders, table)
    recorder.check_unchanged()
    config = configs.from_toml_dict(table)
    if chunk is not None:
        config = dataclasses.replace(config, chunk=chunk)
    experiment = build(config)
    start = recorder.restore(programs.state_shapes(experiment.algorithm, experiment.setting), say)
    for folder in folders:
        folder.update_manifest(resumed=[*command])
    say(f"resuming {out} after round {start.round if start else 0}")
    if start and start.round == config.rounds:
        return _finish(experiment, out, recorder)
    return _drive(prepare(experiment, config.chunk), out, recorder, start)


@contextlib.contextmanager
def _records_at(out: str | Path) -> Iterator[Path]:
    """The run's folder; for the silent processes of a cluster, those after the first, a folder that is thrown away."""
    if jax.distributed.is_initialized() and jax.process_index():
        STDERR.quiet = True
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    else:
        yield Path(out)


def say(line: str) -> None:
    """One line for the person at the terminal; standard output is left to results."""
    STDERR.print(line, highlight=False, markup=False, soft_wrap=True)


def _drive(ready: Ready, out: Path, recorder: Recorder, start: Resume | None) -> int:
    """Runs to the end, to a signal, or until every seed has diverged; records everything on the way."""
    experiment = ready.experiment
    config = experiment.config
    say(ready.memory.describe())
    save_at = programs.every(config.checkpoint_every)
    for folder in recorder.folders:
        folder.sinks.extend(_sinks(config, folder))
    recorder.set_status("running")
    done, stopping = start.round if start else 0, False
    with (
        memory.watched(experiment.setting.chunk, ready.memory),
        interrupts.collected(say) as received,
        display(STDERR, config.rounds, done) as shown,
    ):
        for progress in programs.run(
            experiment.algorithm,
            experiment.setting,
            _seeds(config),
            evaluate_at=programs.every(config.eval_every),
            stop_at=save_at,
            resume=start,
            program=ready.program,
        ):
            done = progress.round
            recorder.record(progress, say)
            shown.update(done, [row for row in progress.rows if row])
            stopping = meshes.anywhere(bool(received))
            if save_at(done) or done == config.rounds or stopping:
                recorder.save(progress)
            if stopping:
                break
    if stopping and done < config.rounds:
        recorder.set_status(f"interrupted after round {done}")
        say(f"stopped after round {done} of {config.rounds}; go on with: fedjax-sparse resume {out}")
        return interrupts.EXIT_CODES[received[0] if received else signal.SIGTERM]
    return _finish(experiment, out, recorder)


def _finish(experiment: Experiment, out: Path, recorder: Recorder) -> int:
    recorder.set_status("finished")
    _report(experiment, out, recorder)
    return 0 if len(recorder.running) == len(recorder.folders) else 1


def _report(experiment: Experiment, out: Path, recorder: Recorder) -> None:
    """Prints what came of the run, and draws its figures."""
    if jax.process_index():
        return
    rows = [rows[-1] for rows in (folder.rows() for folder in recorder.running) if rows]
    if rows:
        say(f"{facts(rows)}  in {rows[0]['wall_seconds']:.1f} s")
        figures.plot([out], out / "figures")
    if not registry.entry(experiment.config.algorithm).sets_its_steps:
        say(padding_of_run(experiment).describe())
    say(f"records and figures: {out}")


def padding_of_run(experiment: Experiment) -> Padding:
    """The work that padding wastes, over all rounds of the first seed, where clients do the local work of the plan."""
    setting, seed = experiment.setting, experiment.config.seed
    plan = setting.federation.plan
    counts = np.append(setting.population.count, 0)  # an empty place holds nothing
    rounds = []
    for t in range(1, setting.federation.rounds + 1):
        ids, present = setting.sampler.draw(seed, t)
        held = np.where(present, counts[ids], 0)
        rounds.append(
            padding(
                held,
                batch_size=plan.batch_size,
                epochs=plan.epochs,
                steps=plan.steps,
                chunk=setting.chunk,
                devices=setting.devices,
            )
        )
    return Padding(*map(sum, zip(*rounds, strict=True)))


def _sinks(config: RunConfig, folder: RunFolder) -> list[run_folder.Sink]:
    sinks = [run_folder.csv_sink(folder)] if config.log_csv else []
    return [*sinks, run_folder.tensorboard_sink(folder)] if config.tensorboard else sinks


def _seeds(config: RunConfig) -> range:
    return range(config.seed, config.seed + config.seeds)


def _new_folder(config: RunConfig) -> Path:
    """runs/<algorithm>-<data set>-<time>."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{config.algorithm}-{Path(config.dataset).stem}-{now}"
