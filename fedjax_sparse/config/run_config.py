"""The configuration of a run: one frozen dataclass, to and from TOML. No JAX here.

In a file, the options of a run are keys and those of the algorithm a table with its name:

    dataset = "digits"
    rounds = 60

    [algorithm]
    name = "fedsparsify-global"
    sparsity = 0.9

In Python and on the command line both stand side by side: `configure("fedsparsify-global", rounds=60, sparsity=0.9)`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedjax_sparse import errors, models
from fedjax_sparse.config import lr_schedule, registry
from fedjax_sparse.config.cards.sparse_proxskip import Scaffnew
from fedjax_sparse.config.entry import Entry, Hyperparameters
from fedjax_sparse.config.options import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    Options,
    Range,
    checked,
    declared_options,
    option,
)
from fedjax_sparse.costs import prices
from fedjax_sparse.data import datasets, partition, sampling
from fedjax_sparse.models import spec

MAX_SEED = 2**31 - 1
SEED = Range(low=0, high=MAX_SEED)
# A run holds a rate for each round, and the order of every local pass.
ROUNDS, LOCAL_EPOCHS, LOCAL_STEPS = Range(1, 10**6), Range(1, 10**5), Range(1, 10**6)
CLIENTS, SEEDS = Range(1, 10**7), Range(1, 10**4)
USUAL_CLIENTS = 20
FRACTION = Range(low=0, high=1, high_open=True)


# The first option of each section of `--help`.
SECTIONS = {
    "dataset": "data",
    "partition": "partition",
    "clients": "population",
    "rounds": "training",
    "server_opt": "server",
    "encoding": "run",
}


@dataclasses.dataclass(frozen=True)
class RunConfig(Options):
    """Everything that a run depends on.

    Attributes:
        algorithm: Name in the registry.
        hyper: The algorithm's own hyper-parameters.

    The other fields are declared with their help below.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

    algorithm: str
    hyper: Hyperparameters

    dataset: str = option(
        "digits",
        "name of a data set (`fedjax-sparse list datasets`), an .npz file or a tensorflow-datasets builder",
    )
    data_dir: str | None = option(
        None, "folder of data sets; by default the environment's FEDJAX_SPARSE_DATA"
    )
    cache_dir: str | None = option(None, "folder for arrays read once; by default the user's cache folder")
    task: Literal["auto", "classification", "regression"] = option(
        "auto",
        "what targets are taken as where they could be both; auto: what the model is for, or their form says",
    )
    model: str = option(
        models.AUTO,
        "a model (`fedjax-sparse list models`), with options as in resnet18:norm=batch, mlp:hidden=200x100; "
        "auto: mlp, or linear for a regression, gru for text",
    )
    train_examples: int | None = option(
        None, "train on the first so many examples of the data set only", allowed=AT_LEAST_ONE
    )
    scaling: Literal["standard", "unit", "symmetric"] = option(
        "standard", "images to mean 0 and deviation 1 in each channel, or to [0, 1], or to [-1, 1]"
    )
    augment: bool = option(False, "random crops and flips of training images, drawn by each client")
    dtype: Literal["float32", "float64", "bfloat16"] = option(
        "float32", "precision of parameters, states and messages, and of layers where nothing else is stated"
    )
    compute_dtype: Literal["bfloat16", "float32"] | None = option(
        None, "precision of the layers' arithmetic; bfloat16 beside float32 parameters is mixed precision"
    )
    matmul_precision: Literal["default", "tensorfloat32", "float32"] = option(
        "default",
        "float32 products on accelerators: the fastest (TF32 on NVIDIA GPUs, bfloat16 on TPUs), or at least so precise",
    )

    partition: str = option("iid", "how examples are dealt to clients (`fedjax-sparse list partitions`)")
    alpha: float = option(0.3, "concentration of a Dirichlet partition", allowed=POSITIVE)
    classes_per_client: int = option(2, "classes that a client holds (shards, classes)", allowed=AT_LEAST_ONE)
    partition_seed: int = option(0, "seed of the partition alone", allowed=SEED)

    clients: int | Literal["auto"] = option(
        "auto",
        f"clients in the population, N; auto: {USUAL_CLIENTS}, or all owners of a natural partition",
        allowed=CLIENTS,
    )
    cohort_size: int | Literal["all"] = option(
        10, "clients invited to a round, C, or all", allowed=AT_LEAST_ONE
    )
    participation: str = option(
        "uniform", "how a cohort is drawn: uniform, weighted, bernoulli, or K-of-N such as 7-of-10"
    )
    dropout: float = option(0.0, "chance that an invited client drops out", allowed=FRACTION)
    weighting: Literal["examples", "uniform"] = option("examples", "a client's weight in the mean")

    rounds: int = option(60, "rounds of the run, T", allowed=ROUNDS)
    local_epochs: int = option(2, "passes of a client over its data in a round", allowed=LOCAL_EPOCHS)
    local_steps: int | None = option(
        None, "steps of a client in a round, instead of epochs", allowed=LOCAL_STEPS
    )
    batch_size: int = option(16, "examples in a local step", allowed=AT_LEAST_ONE)
    client_lr: float = option(0.1, "learning rate of local SGD", allowed=POSITIVE)
    client_momentum: float = option(0.0, "momentum of local SGD, reset every round", allowed=FRACTION)
    client_nesterov: bool = option(False, "Nesterov's form of that momentum")
    weight_decay: float = option(0.0, "L2 penalty in local training", allowed=NOT_NEGATIVE)
    clip_norm: float | None = option(None, "largest norm of a local gradient", allowed=POSITIVE)
    lr_schedule: str = option("constant", f"learning rate over the rounds: {lr_schedule.GRAMMAR}")
    epoch_lr_schedule: str = option(
        "constant", "learning rate over the local epochs of each round, in the same words"
    )

    server_opt: Literal[
        "sgd",
        "momentum",
        "adagrad",
        "adam",
        "yogi",
        "adagrad-flower",
        "adam-flower",
        "yogi-flower",
        "adagrad-tff",
        "adam-tff",
        "yogi-tff",
        "yogi-keras",
        "adam-optax",
    ] = option(
        "sgd", "optimizer of the server; adagrad, adam and yogi as in their paper, or as a code has them"
    )
    server_lr: float = option(1.0, "learning rate of the server", allowed=POSITIVE)
    server_momentum: float | None = option(
        None, "momentum of that optimizer, b1; by default 0.9, or 0 for adagrad", allowed=FRACTION
    )
    server_decay: float | None = option(
        None, "decay of the second moment, b2; by default 0.99, or what the code named has", allowed=FRACTION
    )
    server_tau: float | None = option(
        None,
        "tau, added to the root of the second moment; by default 1e-3, or what the code named has",
        allowed=POSITIVE,
    )

    encoding: str = option("smallest", f"how messages are counted in bytes: {', '.join(prices.ENCODINGS)}")
    seed: int = option(0, "seed of everything but the partition", allowed=SEED)
    seeds: int = option(
        1,
        "seeds s..s+K-1 run as one program, K; one after another on CPU, else at once",
        allowed=SEEDS,
    )
    eval_every: int = option(
        5, "rounds between two evaluations; the last round always is", allowed=AT_LEAST_ONE
    )
    client_test_size: int | None = option(
        None,
        "also test on so many test images of each client, drawn in its own mix of classes",
        allowed=AT_LEAST_ONE,
    )
    checkpoint_every: int = option(25, "rounds between two checkpoints", allowed=AT_LEAST_ONE)
    chunk: int | Literal["auto"] = option(
        "auto", "clients trained at once; more is faster on a GPU and needs more memory", allowed=AT_LEAST_ONE
    )
    devices: int | Literal["auto"] = option(
        "auto", "devices that share a cohort; auto: all accelerators, one on CPU", allowed=AT_LEAST_ONE
    )
    state_store: Literal["device", "host"] = option(
        "device",
        "where the states of clients lie between rounds; host is slower, and as large as main memory",
    )
    out: str | None = option(None, "run folder; by default a new one under runs/")
    figures: bool = option(True, "draw figures when the run ends; plot draws them at any time")
    log_csv: bool = option(False, "write metrics.csv beside metrics.jsonl")
    tensorboard: bool = option(False, "write TensorBoard events (needs tensorboardX)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clients == "auto" and self.partition != "natural":
            object.__setattr__(self, "clients", USUAL_CLIENTS)
        check(self)

    @property
    def places(self) -> int:
        """C as a number, once that of the clients is known."""
        return self.population if self.cohort_size == "all" else self.cohort_size

    @property
    def population(self) -> int:
        """N as a number, once it is known: the owners of a natural partition are counted in the data."""
        assert self.clients != "auto"
        return self.clients


def check(config: RunConfig) -> None:
    """Checks what no single field can know: names in tables and values that depend on each other.

    Raises:
        UsageError: naming the values and what is allowed.
    """
    expected = registry.entry(config.algorithm).hyperparameters
    if type(config.hyper) is not expected:
        raise errors.UsageError(
            f"hyper = {config.hyper!r} does not belong to {config.algorithm}; allowed: {expected.__name__}"
        )
    for flag, name, table in (
        ("--model", spec.parse(config.model)[0], (models.AUTO, *models.MODELS)),
        ("--partition", config.partition, partition.PARTITIONS),
        ("--encoding", config.encoding, prices.ENCODINGS),
    ):
        if name not in table:
            errors.unknown_name(flag, name, table)
    _check_model(config)
    last_seed = config.seed + config.seeds - 1
    if last_seed > MAX_SEED:
        raise errors.UsageError(f"--seed + --seeds - 1 = {last_seed} is out of range; allowed: {SEED}")
    lr_schedule.factors(config.lr_schedule, config.rounds)
    lr_schedule.factors(config.epoch_lr_schedule, config.local_epochs, "--epoch-lr-schedule")
    if config.epoch_lr_schedule != "constant" and isinstance(config.hyper, Scaffnew):
        raise errors.UsageError(
            f"--epoch-lr-schedule = {config.epoch_lr_schedule!r} is not valid with {config.algorithm}, "
            "whose control variates need one step size in a round; allowed: constant"
        )
    if config.clients != "auto":
        _check_cohort(config)


def _check_cohort(config: RunConfig) -> None:
    """Checks who takes part among clients whose number is known."""
    if config.places > config.population:
        raise errors.UsageError(
            f"--cohort-size = {config.cohort_size} is more than --clients = {config.clients}; "
            f"allowed: 1 to {config.population}, or all"
        )
    sampling.make(
        config.participation,
        clients=config.population,
        cohort_size=config.places,
        sizes=np.ones(config.population, np.int64),
        dropout=config.dropout,
    )


def _check_model(config: RunConfig) -> None:
    """Checks a model's options and, where the data set is known by name, its task."""
    (model, options), task = spec.parse(config.model), datasets.known_task(config.dataset, config.task)
    if model == models.AUTO:
        return
    spec.check_options(model, options)
    if task is not None:
        models.check_task(model, models.MODELS[model].task, task, config.dataset)


def configure(algorithm: str, **values: Any) -> RunConfig:
    """A run configuration from its algorithm's defaults and the values stated.

    Args:
        algorithm: Name in the registry.
        **values: Fields of `RunConfig` and of the algorithm's hyper-parameters, side by side.

    Raises:
        UsageError: an unknown name, or a value or combination that is not allowed.
    """
    entry = registry.entry(algorithm)
    check_values(entry, values)
    if "local_epochs" in values and values.get("local_steps") is not None:
        raise errors.UsageError(
            f"--local-epochs = {values['local_epochs']} and --local-steps = {values['local_steps']} "
            "exclude each other; state one"
        )
    own_names = {option.name for option in declared_options(entry.hyperparameters)}
    own = {name: value for name, value in values.items() if name in own_names}
    of_run = {name: value for name, value in values.items() if name not in own_names}
    return RunConfig(algorithm, entry.hyperparameters(**own), **{**entry.overrides, **of_run})


def check_values(entry: Entry, values: Mapping[str, Any]) -> None:
    """Checks each value of a run of this algorithm on its own.

    Raises:
        UsageError: a name is no option, or a value is not allowed for it.
    """
    options = {o.name: o for cls in (RunConfig, entry.hyperparameters) for o in declared_options(cls)}
    for name, value in values.items():
        if name not in options:
            errors.unknown_name(f"option of {entry.name}", name, options)
        checked(options[name], value)


def values(config: RunConfig) -> dict[str, Any]:
    """All options of a run and of its algorithm, side by side."""
    parts = (config, config.hyper)
    return {
        option.name: getattr(part, option.name) for part in parts for option in declared_options(type(part))
    }


def to_toml_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as TOML tables; what is None, or replaced by local steps, is left out."""
    run, own = _stated(config), _stated(config.hyper)
    if config.local_steps is not None:
        del run["local_epochs"]
    return {**run, "algorithm": {"name": config.algorithm, **own}}


def _stated(options: Options) -> dict[str, Any]:
    """The values that are not None, by name: TOML has no None, and a missing key is read as its default."""
    values = {option.name: getattr(options, option.name) for option in declared_options(type(options))}
    return {name: value for name, value in values.items() if value is not None}


def from_toml_dict(table: Mapping[str, Any]) -> RunConfig:
    """The inverse of `to_toml_dict`; missing keys take their defaults."""
    algorithm, values, own = split(table)
    if algorithm is None:
        raise errors.UsageError("the configuration names no algorithm; add [algorithm] with name = ...")
    return configure(algorithm, **values, **own)


def split(table: Mapping[str, Any]) -> tuple[str | None, dict[str, Any], dict[str, Any]]:
    """The algorithm's name (None if there is none), the options of the run, and those of the algorithm."""
    values = {key: value for key, value in table.items() if key != "algorithm"}
    own = table.get("algorithm", {})
    name = own.get("name", "") if isinstance(own, Mapping) else None
    if not isinstance(name, str):
        raise errors.UsageError(
            f"algorithm = {own!r} is not valid; allowed: a table [algorithm] with name = ..."
        )
    return name or None, values, {key: value for key, value in own.items() if key != "name"}


def read(path: str | Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise errors.UsageError(f"cannot read {path}: {error.strerror}") from None
    except RecursionError:
        raise errors.UsageError(f"{path} is not a configuration: it is nested too deeply") from None
    except (
        ValueError
    ) as error:  # a name that no file can have, not TOML, not UTF-8, or a number that is too long
        raise errors.UsageError(f"{path} is not a TOML file: {error}") from None
