"""What every algorithm of a comparison shares: data, model, cohorts, local work and the clients' optimiser."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fedjax_sparse import errors, trees
from fedjax_sparse.clients import local_training
from fedjax_sparse.clients.executor import make_over_clients
from fedjax_sparse.clients.local_training import Plan
from fedjax_sparse.config.lr_schedule import factors
from fedjax_sparse.data import sampling, transforms
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.data.population import Population
from fedjax_sparse.data.sampling import Sampler
from fedjax_sparse.devices import platforms
from fedjax_sparse.models import check_task
from fedjax_sparse.models.layers import DEFAULT
from fedjax_sparse.models.model import Model
from fedjax_sparse.server import fedopt
from fedjax_sparse.simulation import evaluation
from fedjax_sparse.types import Batch, Federation, PyTree, Variables

EVAL_BATCH = 500  # examples evaluated at once


class Setting(NamedTuple):
    """A federated problem, ready for any algorithm.

    Attributes:
        federation: What an algorithm is built from.
        model: The model.
        population: The clients and their data.
        test: The test set, in batches.
        preprocess: (x, key, train) -> model inputs.
        sampler: Who takes part in which round.
        chunk: Clients that are vmapped together.
        encoding: The encoding in which bytes are counted.
        mesh: The devices that share a cohort; None for one device.
        state_store: Where the states of all clients lie between rounds.
    """

    federation: Federation
    model: Model
    population: Population
    test: evaluation.TestSet
    preprocess: Callable
    sampler: Sampler
    chunk: int
    encoding: str
    mesh: Mesh | None
    state_store: Literal["device", "host"]

    @property
    def devices(self) -> int:
        """How many devices share the cohort."""
        return 1 if self.mesh is None else self.mesh.size


def make_setting(
    dataset: Dataset,
    model: Model,
    population: Population,
    *,
    rounds: int,
    cohort_size: int,
    participation: str = "uniform",
    dropout: float = 0.0,
    local_epochs: int | None = 1,
    local_steps: int | None = None,
    batch_size: int = 32,
    client_lr: float = 0.1,
    client_momentum: float = 0.0,
    client_nesterov: bool = False,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    lr_schedule: str = "constant",
    epoch_lr_schedule: str = "constant",
    server_opt: str = "sgd",
    server_lr: float = 1.0,
    server_momentum: float | None = None,
    server_decay: float | None = None,
    server_tau: float | None = None,
    augment: bool = False,
    encoding: str = "smallest",
    chunk: int | None = None,
    mesh: Mesh | None = None,
    state_store: Literal["device", "host"] = "device",
    client_test: np.ndarray | None = None,
) -> Setting:
    """Builds a `Setting`; the arguments are the command line's flags of the same names.

    Args:
        dataset: For its test set and its normalisation.
        model: The model that is trained.
        population: The clients, see `fedjax_sparse.data.population.build`.
        rounds: T.
        cohort_size: C, clients invited to a round (its expected number for Bernoulli participation).
        participation: uniform, weighted, bernoulli, or such as 7-of-10.
        dropout: Probability that an invited client does not answer.
        local_epochs: Passes over a client's data in a round; None where `local_steps` is given.
        local_steps: Local steps in a round; rules where given.
        batch_size: B.
        client_lr: The clients' learning rate.
        client_momentum: Momentum of the clients, restarted in every round.
        client_nesterov: Whether it is Nesterov's; else heavy-ball.
        weight_decay: L2 decay, added to the gradient.
        clip_norm: Largest norm of a local gradient; None for no clipping.
        lr_schedule: How `client_lr` changes over the rounds, see `fedjax_sparse.config.lr_schedule`.
        epoch_lr_schedule: How it changes over the local epochs of each round, in the same words.
        server_opt: Name of its optimiser, see `fedjax_sparse.server.fedopt`.
        server_lr: The server's learning rate.
        server_momentum: Its b1; here and below, None is for what this optimiser usually has.
        server_decay: Its b2.
        server_tau: Its tau.
        augment: Whether training images are cropped and flipped at random.
        encoding: In which bytes are counted, see `fedjax_sparse.costs.prices.ENCODINGS`.
        chunk: Clients that are vmapped together, on each device at most its share of the cohort; None chooses 1 on
            CPU, else that share.
        mesh: Devices over which a cohort is spread, along an axis named `clients`.
        state_store: Where the states of all clients lie between rounds: on the device, or in the host's memory.
        client_test: f32[M], what each test example counts in the clients' own tests, see
            `fedjax_sparse.data.client_test`; None for no such metric.

    Raises:
        UsageError: The model does not predict what the data set asks for, or a value is not allowed.
    """
    check_task(model.name, model.task, dataset.task, dataset.name)
    if augment and dataset.x_train.ndim != 4:
        raise errors.UsageError(
            f"--augment crops and flips images, and examples of {dataset.name} have the shape "
            f"{dataset.x_train.shape[1:]}; allowed: no --augment"
        )
    clients = population.count.shape[0]
    sizes = np.asarray(population.count)
    sampler = sampling.make(
        participation, clients=clients, cohort_size=cohort_size, sizes=sizes, dropout=dropout
    )
    devices = 1 if mesh is None else mesh.size
    share = -(-sampler.capacity // devices)
    chunk = automatic_chunk(share) if chunk is None else chunk
    if not 1 <= chunk <= sampler.capacity:
        raise errors.UsageError(
            f"--chunk = {chunk} is out of range; allowed: 1 to {sampler.capacity}, the cohort"
        )
    chunk = min(chunk, share)
    plan = make_plan(sizes, batch_size=batch_size, epochs=local_epochs, steps=local_steps)
    optimizer = functools.partial(
        local_training.client_sgd,
        momentum=client_momentum,
        nesterov=client_nesterov,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )
    within = factors(epoch_lr_schedule, plan.passes, "--epoch-lr-schedule")
    variables = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))
    dtype = jax.tree.leaves(variables.params)[0].dtype
    preprocess = transforms.make_preprocess(dataset.mean, dataset.std, dtype, augment)
    rate = rate_by_round(client_lr, lr_schedule, rounds)
    test = evaluation.batched(dataset.x_test, dataset.y_test, EVAL_BATCH, client_test)
    evaluate = evaluation.make_evaluate(model, preprocess)
    federation = Federation(
        loss=make_loss(model, preprocess),
        loss_of=functools.partial(make_loss, model, preprocess),
        correct=model.correct,
        train=local_training.local_sgd(optimizer, rate, plan, within),
        client_optimizer=optimizer,
        task=dataset.task,
        test_loss=lambda variables: evaluate(variables, test).loss,
        plan=plan,
        client_rate=rate,
        over_clients=make_over_clients(chunk, mesh),
        server_optimizer=fedopt.make(server_opt, server_lr, server_momentum, server_decay, server_tau),
        params=variables.params,
        kinds=model.kinds,
        stats_size=trees.size(variables.stats),
        rounds=rounds,
        population=clients,
        examples=int(sizes.sum()),
        cohort_size=sampler.capacity,
    )
    return Setting(
        federation, model, population, test, preprocess, sampler, chunk, encoding, mesh, state_store
    )


def with_chunk(setting: Setting, chunk: int) -> Setting:
    """The same setting, with `chunk` clients vmapped together; algorithms are to be built anew from its federation."""
    federation = setting.federation._replace(over_clients=make_over_clients(chunk, setting.mesh))
    return setting._replace(federation=federation, chunk=chunk)


def automatic_chunk(share: int) -> int:
    """One client at a time on CPU, where a scan beats a vmap; on accelerators each one's share of the cohort."""
    return share if platforms.current().side_by_side else 1


def make_plan(sizes: np.ndarray, *, batch_size: int, epochs: int | None, steps: int | None) -> Plan:
    """The local work of clients that hold `sizes` (i[N]) examples; a batch is at most all of the largest client."""
    batch_size = min(batch_size, int(sizes.max()))
    if steps is None:
        if epochs is None:
            raise errors.UsageError("one of --local-epochs and --local-steps is needed")
        return Plan(batch_size, epochs, None, epochs)
    fewest_steps_in_a_pass = -(-int(sizes.min()) // batch_size)
    return Plan(batch_size, None, steps, -(-steps // fewest_steps_in_a_pass))


def rate_by_round(rate: float, schedule: str, rounds: int) -> Callable[[jax.Array], jax.Array]:
    """Round number t = 1..T -> learning rate."""
    table = rate * np.asarray(factors(schedule, rounds))
    return lambda t: jnp.asarray(table, jnp.result_type(float))[t - 1]


def make_loss(
    model: Model,
    preprocess: Callable,
    of_each: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    *,
    train: bool = True,
) -> Callable[..., tuple[jax.Array, PyTree]]:
    """(variables, batch, ops) -> (mean training loss over the batch's examples, new statistics).

    Args:
        model: What is trained.
        preprocess: (x, key, train) -> model inputs.
        of_each: (outputs, y) -> f[B], the loss of each example; None for the model's own.
        train: Whether the model is in training mode: dropout on, BatchNorm normalising by the batch.
    """
    of_each = of_each or model.loss

    def loss(variables: Variables, batch: Batch, ops=DEFAULT):
        data_key, model_key = jax.random.split(batch.key)
        x = preprocess(batch.x, data_key, True)
        outputs, stats = model.apply(variables, x, train=train, key=model_key, mask=batch.mask, ops=ops)
        losses = jnp.where(batch.mask, of_each(outputs, batch.y), 0)
        return jnp.sum(losses) / jnp.maximum(jnp.sum(batch.mask), 1), stats

    return loss
