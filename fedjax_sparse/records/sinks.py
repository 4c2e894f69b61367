"""Where a run's rows go besides its records: a CSV file, TensorBoard, Weights & Biases, MLflow. No JAX here.

Each is made anew from the recorded rows when a run starts or is resumed, and is then told of every new one. All but the
CSV file are written with packages that are optional. Where Weights & Biases and MLflow send what they get is theirs to
know: WANDB_MODE and WANDB_PROJECT, MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say it.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from fedjax_sparse.config import run_config
from fedjax_sparse.config.sections import Records
from fedjax_sparse.errors import UsageError, optional_package
from fedjax_sparse.records.run_folder import CONFIG, Row, RunFolder, Sink
from fedjax_sparse.records.writing import csv_lines, replace, writing

PROJECT = "fedjax-sparse"
MOST_PARAMETERS = 100  # that MLflow takes at once
# Option -> the module that it writes with, and its name.
PACKAGES = {
    "tensorboard": ("tensorboardX", "TensorBoard"),
    "wandb": ("wandb", "Weights & Biases"),
    "mlflow": ("mlflow", "MLflow"),
}


def package(option: str) -> Any:
    """The module that a sink writes with.

    Raises:
        UsageError: It is not installed.
    """
    module, name = PACKAGES[option]
    return optional_package(module, option, f"{name} needs")


def check(records: Records) -> None:
    """Raises a `UsageError` if a package is missing that the run would write with."""
    for option in PACKAGES:
        if getattr(records, option):
            package(option)


@contextlib.contextmanager
def attached(folders: Iterable[RunFolder], records: Records) -> Iterator[None]:
    """Has the sinks that were asked for follow the rows of the folders, and closes them in the end."""
    chosen = [make for option, make in SINKS.items() if getattr(records, option)]
    with contextlib.ExitStack() as stack:
        for folder in folders:
            folder.sinks.extend([stack.enter_context(make(folder)) for make in chosen])
            stack.callback(folder.sinks.clear)
        yield


@contextlib.contextmanager
def csv_sink(folder: RunFolder) -> Iterator[Sink]:
    """Keeps `metrics.csv` the same as `metrics.jsonl`: made from it now, and again when a row has a new column."""
    columns: dict[str, None] = {}

    def rewrite() -> None:
        rows = folder.rows()
        columns.update(dict.fromkeys(name for row in rows for name in row))
        with writing(folder.path / "metrics.csv") as path:
            replace(path, csv_lines([list(columns), *([row.get(name) for name in columns] for row in rows)]))

    def write(row: Row) -> None:
        if row.keys() - columns.keys():
            rewrite()
            return
        with writing(folder.path / "metrics.csv") as path, path.open("ab") as file:
            file.write(csv_lines([[row.get(name) for name in columns]]))

    rewrite()
    yield write


@contextlib.contextmanager
def tensorboard_sink(folder: RunFolder) -> Iterator[Sink]:
    """Keeps every number as a TensorBoard scalar, in the run folder."""
    path = str(folder.path / "tensorboard")
    with package("tensorboard").SummaryWriter(path, purge_step=0, flush_secs=5) as writer:

        def write(row: Row) -> None:
            for name, value in _numbers(row).items():
                writer.add_scalar(name, value, row["round"])

        yield _caught_up(folder, write)


@contextlib.contextmanager
def wandb_sink(folder: RunFolder) -> Iterator[Sink]:
    """Keeps every number, and the options, in a run of Weights & Biases, which replaces that of an earlier start.

    Raises:
        UsageError: Weights & Biases cannot be reached, or knows no key.
    """
    wandb = package("wandb")
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=_identity(folder),
            name=str(folder.path),
            dir=str(folder.path),
            config=_options(folder),
            reinit="create_new",  # one for each seed
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        raise UsageError(f"Weights & Biases: {error} (WANDB_MODE=offline keeps the run here)") from error
    with run:
        yield _caught_up(folder, lambda row: run.log(_numbers(row), step=row["round"]))


@contextlib.contextmanager
def mlflow_sink(folder: RunFolder) -> Iterator[Sink]:
    """Keeps every number, and the options, in a run of MLflow, which replaces that of an earlier start.

    Raises:
        UsageError: The tracking server cannot be reached.
    """
    mlflow = package("mlflow")
    metric, parameter = mlflow.entities.Metric, mlflow.entities.Param
    try:
        client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else client.create_experiment(name)
        for earlier in client.search_runs([place], f"tags.`{PROJECT}` = '{_identity(folder)}'"):
            client.delete_run(earlier.info.run_id)
        tags = {PROJECT: _identity(folder)}
        run = client.create_run(place, run_name=str(folder.path), tags=tags).info.run_id
        options = [parameter(key, str(value)) for key, value in _options(folder).items()]
        for first in range(0, len(options), MOST_PARAMETERS):
            client.log_batch(run, params=options[first : first + MOST_PARAMETERS])
    except mlflow.MlflowException as error:
        raise UsageError(f"MLflow: {error}") from error

    def write(row: Row) -> None:
        now = int(1000 * time.time())
        client.log_batch(run, [metric(key, value, now, row["round"]) for key, value in _numbers(row).items()])

    status = "FAILED"
    try:
        yield _caught_up(folder, write)
        status = "FINISHED"
    finally:
        client.set_terminated(run, status)


# Option of `Records` -> the sink that it asks for.
SINKS: dict[str, Callable[[RunFolder], AbstractContextManager[Sink]]] = {
    "log_csv": csv_sink,
    "tensorboard": tensorboard_sink,
    "wandb": wandb_sink,
    "mlflow": mlflow_sink,
}


def _caught_up(folder: RunFolder, write: Sink) -> Sink:
    """The sink, after it was told of all rows that are recorded."""
    for row in folder.rows():
        write(row)
    return write


def _numbers(row: Row) -> dict[str, float]:
    """What a row measured; as floats, since few can take integers of any size."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "round" and isinstance(value, int | float)
    }


def _identity(folder: RunFolder) -> str:
    """The same whenever the run is resumed, and no other run's."""
    text = f"{folder.path.resolve()} {folder.manifest()['started']}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _options(folder: RunFolder) -> dict[str, Any]:
    """Every option of the run and of its algorithm."""
    table = run_config.read(folder.path / CONFIG)
    name, own = run_config.algorithm_of(table)
    return {"algorithm": name, **run_config.options_of_run(table), **own}
