"""The sections of a run: one frozen dataclass for each group of options that `--help` shows. No JAX here.

An option is declared here and nowhere else. A section checks what it alone can know and travels whole: from the command
line, a file's table or Python to the function that reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

from fedjax_sparse import errors, models
from fedjax_sparse.config import lr_schedule
from fedjax_sparse.config.options import (
    AT_LEAST_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Options,
    Range,
    option,
)
from fedjax_sparse.costs import prices
from fedjax_sparse.costs.networks import NETWORKS
from fedjax_sparse.data import datasets, partition
from fedjax_sparse.models import spec

MAX_SEED = 2**31 - 1
SEED = Range(low=0, high=MAX_SEED)
# A run holds a rate for each round, and the order of every local pass.
ROUNDS, LOCAL_EPOCHS, LOCAL_STEPS = Range(1, 10**6), Range(1, 10**5), Range(1, 10**6)
CLIENTS, SEEDS = Range(1, 10**7), Range(1, 10**4)
USUAL_CLIENTS, USUAL_COHORT = 20, 10


@dataclasses.dataclass(frozen=True)
class Data(Options):
    """The data set, the model that learns from it, and their precision.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

    dataset: str = option(
        "digits",
        "name of a data set (`fedjax-sparse list datasets`), a tensorflow-datasets builder, or a path of your own: "
        "npz, CSV, Parquet, LIBSVM, LEAF's JSON, TensorFlow Federated's HDF5, a saved Hugging Face set",
    )
    label_column: str | None = option(
        None, "of a table of your own, the column of labels; by default the one called label, target or y"
    )
    owner_column: str | None = option(
        None, "of a table of your own, the column of owners, for --partition natural"
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
    init: str | None = option(
        None,
        "folder of a run whose model this one begins from, of several seeds the first's, or RUN/seed_<s>",
    )
    init_checkpoint: Literal["last", "best"] = option("last", "which of that run's checkpoints")
    train_examples: int | None = option(
        None, "train on the first so many examples of the data set only", allowed=AT_LEAST_ONE
    )
    scaling: Literal["standard", "unit", "symmetric"] = option(
        "standard", "images to mean 0 and deviation 1 in each channel, or to [0, 1], or to [-1, 1]"
    )
    image_shrink: int = option(
        1, "side of the squares of pixels that are averaged to one, for smaller images", allowed=AT_LEAST_ONE
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

    def __post_init__(self) -> None:
        super().__post_init__()
        (model, options), task = spec.parse(self.model), datasets.known_task(self.dataset, self.task)
        _check_name("--model", model, (models.AUTO, *models.MODELS))
        if model == models.AUTO:
            return
        spec.check_options(model, options)
        if task is not None:  # known by the data set's name
            models.check_task(model, models.MODELS[model].task, task, self.dataset)


@dataclasses.dataclass(frozen=True)
class Partition(Options):
    """How the examples are dealt to the clients of the population.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

    partition: str = option("iid", "how examples are dealt to clients (`fedjax-sparse list partitions`)")
    alpha: float = option(0.3, "concentration of a Dirichlet partition", allowed=POSITIVE)
    classes_per_client: int = option(2, "classes that a client holds (shards, classes)", allowed=AT_LEAST_ONE)
    partition_seed: int = option(0, "seed of the partition alone", allowed=SEED)
    clients: int | Literal["auto"] = option(
        "auto",
        f"clients in the population, N; auto: {USUAL_CLIENTS}, or all owners of a natural partition",
        allowed=CLIENTS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_name("--partition", self.partition, partition.PARTITIONS)
        if self.clients == "auto" and self.partition != "natural":
            object.__setattr__(self, "clients", USUAL_CLIENTS)


@dataclasses.dataclass(frozen=True)
class Cohorts(Options):
    """Who takes part in a round, and what each of them counts.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

    cohort_size: int | Literal["all", "auto"] = option(
        "auto",
        f"clients invited to a round, C, or all; auto: {USUAL_COHORT}, or all where there are fewer",
        allowed=AT_LEAST_ONE,
    )
    participation: str = option(
        "uniform", "how a cohort is drawn: uniform, weighted, bernoulli, or K-of-N such as 7-of-10"
    )
    dropout: float = option(0.0, "chance that an invited client drops out", allowed=FRACTION)
    weighting: Literal["examples", "uniform"] = option("examples", "a client's weight in the mean")

    def places(self, clients: int) -> int:
        """C as a number, in a population of so many clients."""
        if self.cohort_size == "auto":
            return min(USUAL_COHORT, clients)
        return clients if self.cohort_size == "all" else self.cohort_size


@dataclasses.dataclass(frozen=True)
class Training(Options):
    """The rounds and what a client does in each; `local_steps` rules where it is given.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

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

    def __post_init__(self) -> None:
        super().__post_init__()
        lr_schedule.factors(self.lr_schedule, self.rounds)
        lr_schedule.factors(self.epoch_lr_schedule, self.local_epochs, "--epoch-lr-schedule")


@dataclasses.dataclass(frozen=True)
class Server(Options):
    """The server's optimiser.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

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


@dataclasses.dataclass(frozen=True)
class Run(Options):
    """How a run is repeated, counted, tested and saved.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

    encoding: str = option("smallest", f"how messages are counted in bytes: {', '.join(prices.ENCODINGS)}")
    network: str | None = option(
        None,
        "clients' links and processors, for simulated_seconds: a name (`fedjax-sparse list networks`) or FILE.toml",
    )
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
        "also test on so many test images of each client, drawn in its own mix of classes; 100 where clients have "
        "models of their own",
        allowed=AT_LEAST_ONE,
    )
    tuned_accuracy: bool = option(
        False, "also test each client's model after a further round of local training: much work"
    )
    class_metrics: bool = option(
        False, "also record balanced accuracy, macro F1 and the accuracy of each class"
    )
    objective: bool = option(
        False, "also record the objective: the clients' mean training loss of the model, and the L2 penalty"
    )
    keep_masks: bool = option(
        False,
        "also keep the mask of the server's model at each evaluation and, with --log-masks, how far each two clients' "
        "agree",
    )
    checkpoint_every: int = option(25, "rounds between two checkpoints", allowed=AT_LEAST_ONE)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_name("--encoding", self.encoding, prices.ENCODINGS)
        if self.network is not None and not self.network.endswith(".toml"):
            _check_name("--network", self.network, [*NETWORKS, "FILE.toml"])
        last = self.seed + self.seeds - 1
        if last > MAX_SEED:
            raise errors.UsageError(f"--seed + --seeds - 1 = {last} is out of range; allowed: {SEED}")

    @property
    def all_seeds(self) -> range:
        """s..s+K-1."""
        return range(self.seed, self.seed + self.seeds)


@dataclasses.dataclass(frozen=True)
class Machine(Options):
    """What a run computes on: it changes speed, memory and rounding.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

    chunk: int | Literal["auto"] = option(
        "auto", "clients trained at once; more is faster on a GPU and needs more memory", allowed=AT_LEAST_ONE
    )
    devices: int | Literal["auto"] = option(
        "auto",
        "devices that share a cohort; auto: all accelerators, or all cores of a CPU",
        allowed=AT_LEAST_ONE,
    )
    shared_weights: Literal["auto", "off"] = option(
        "auto",
        "auto: under plain local SGD clients share wide dense layers and keep a history of what moved them, which is "
        "exact up to rounding and faster; off: each has its own",
    )
    state_store: Literal["device", "host"] = option(
        "device",
        "where the states of clients lie between rounds; host is slower, and as large as main memory",
    )


@dataclasses.dataclass(frozen=True)
class Records(Options):
    """Where a run is recorded, and in which further forms.

    Raises:
        UsageError: a value, or a combination of values, is not allowed.
    """

    out: str | None = option(None, "run folder; by default a new one under runs/")
    figures: bool = option(True, "draw figures when the run ends; plot draws them at any time")
    log_csv: bool = option(False, "write metrics.csv beside metrics.jsonl")
    tensorboard: bool = option(False, "write TensorBoard events (needs tensorboardX)")
    wandb: bool = option(False, "log to Weights & Biases (needs wandb; WANDB_MODE=offline keeps it here)")
    mlflow: bool = option(False, "log to MLflow (needs mlflow; MLFLOW_TRACKING_URI says where)")


def _check_name(flag: str, name: str, table: Iterable[str]) -> None:
    if name not in table:
        errors.unknown_name(flag, name, table)
