"""What every algorithm of a comparison shares: data, model, cohorts, local work and the clients' optimiser."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fedjax_sparse import errors, trees
from fedjax_sparse.clients import local_training, shared_weights
from fedjax_sparse.clients.executor import make_over_clients
from fedjax_sparse.clients.local_training import Plan
from fedjax_sparse.clients.steps import Steps, with_own_weights
from fedjax_sparse.config.lr_schedule import factors
from fedjax_sparse.config.sections import USUAL_CLIENTS, Cohorts, Machine, Partition, Run, Server, Training
from fedjax_sparse.costs import networks
from fedjax_sparse.costs.networks import Links, Network
from fedjax_sparse.data import partition as partitions
from fedjax_sparse.data import population as populations
from fedjax_sparse.data import sampling, transforms
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.data.population import Population
from fedjax_sparse.data.sampling import Sampler
from fedjax_sparse.devices import meshes, platforms
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
        links: The clients' links and processors, by which simulated time is told; None where nobody asks.
        tuned_accuracy: Whether each client's model is also tested after a further round of local training.
        class_metrics: The number of classes whose confusions are counted; None where nobody asks.
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
    links: Links | None = None
    tuned_accuracy: bool = False
    class_metrics: int | None = None

    @property
    def devices(self) -> int:
        """How many devices share the cohort."""
        return 1 if self.mesh is None else self.mesh.size


def make_population(dataset: Dataset, partition: Partition) -> Population:
    """The training examples of a data set, dealt to clients.

    Args:
        dataset: Whose test examples stay out of this.
        partition: How, and to how many clients.

    Raises:
        UsageError: A partition that this data set does not allow.
    """
    clients, owners = partition.clients, dataset.client_train
    if clients == "auto":
        clients = USUAL_CLIENTS if owners is None else int(owners.max()) + 1
    parts = partitions.make(
        partition.partition,
        dataset.y_train,
        clients,
        seed=partition.partition_seed,
        alpha=partition.alpha,
        classes_per_client=partition.classes_per_client,
        client_train=owners,
    )
    return populations.build(dataset.x_train, dataset.y_train, parts)


def make_setting(
    dataset: Dataset,
    model: Model,
    population: Population,
    *,
    cohorts: Cohorts = Cohorts(),
    training: Training = Training(),
    server: Server = Server(),
    machine: Machine = Machine(),
    encoding: str = Run.encoding,
    network: Network | None = None,
) -> Setting:
    """Builds a `Setting` from sections of a run, whose options `fedjax-sparse run --help` explains.

    Args:
        dataset: For its test set, its normalisation and its augmentation.
        model: The model that is trained.
        population: The clients, see `make_population`.
        cohorts: Who takes part in a round, and with which weight.
        training: The rounds, and what a client does in each.
        server: The server's optimiser.
        machine: Where it runs.
        encoding: In which bytes are counted, see `fedjax_sparse.costs.prices.ENCODINGS`.
        network: What is known of the clients' links and processors, see `fedjax_sparse.costs.networks`; None: nothing.

    Raises:
        UsageError: The model does not predict what the data set asks for, the cohort is larger than the population, the
            chunk than the cohort, or devices are not there.
    """
    check_task(model.name, model.task, dataset.task, dataset.name)
    population = populations.weighted(population, cohorts.weighting)
    sizes = np.asarray(population.count)
    sampler = make_sampler(cohorts, sizes)
    mesh = meshes.make_mesh(meshes.choose(machine.devices, cohorts.places(len(sizes))))
    devices = 1 if mesh is None else mesh.size
    chunk = choose_chunk(machine.chunk, sampler.capacity, devices)
    plan = make_plan(training, sizes)
    variables = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))
    dtype = jax.tree.leaves(variables.params)[0].dtype
    preprocess = transforms.Preprocess(dataset.mean, dataset.std, dtype, dataset.augment)
    test = evaluation.batched(
        dataset.x_test, dataset.y_test, min(EVAL_BATCH, -(-len(dataset.x_test) // devices))
    )
    evaluate = evaluation.make_evaluate(model, preprocess)
    federation = Federation(
        loss=make_loss(model, preprocess),
        loss_of=functools.partial(make_loss, model, preprocess),
        correct=model.correct,
        make_steps=steps_of(model, variables.params, plan, int(sizes.max()), machine.shared_weights),
        task=dataset.task,
        test_loss=lambda variables: evaluate(variables, test)[0].loss,
        plan=plan,
        over_clients=make_over_clients(chunk, mesh),
        **_optimizers(training, server, plan),
        params=variables.params,
        kinds=model.kinds,
        uses=model.uses,
        input_grad=model.input_grad,
        stats_size=trees.size(variables.stats),
        rounds=training.rounds,
        population=len(sizes),
        examples=int(sizes.sum()),
        cohort_size=sampler.capacity,
    )
    links = None if network is None else networks.links(network, len(sizes))
    store = machine.state_store
    return Setting(
        federation, model, population, test, preprocess, sampler, chunk, encoding, mesh, store, links
    )


def with_chunk(setting: Setting, chunk: int) -> Setting:
    """The same setting, with `chunk` clients vmapped together; algorithms are to be built anew from its federation."""
    federation = setting.federation._replace(over_clients=make_over_clients(chunk, setting.mesh))
    return setting._replace(federation=federation, chunk=chunk)


def with_optimizers(federation: Federation, training: Training, server: Server) -> Federation:
    """The same federation, with the numbers of other optimisers, which may be traced; the local work is as it was."""
    return federation._replace(**_optimizers(training, server, federation.plan))


def _optimizers(training: Training, server: Server, plan: Plan) -> dict[str, Any]:
    """What of a federation follows from the numbers of the clients' and the server's optimiser."""
    optimizer = make_client_optimizer(training)
    rate = rate_by_round(training.client_lr, training.lr_schedule, training.rounds)
    within = factors(training.epoch_lr_schedule, plan.passes, "--epoch-lr-schedule")
    return {
        "train": local_training.local_sgd(optimizer, rate, plan, within),
        "client_optimizer": optimizer,
        "client_rate": rate,
        "server_optimizer": make_server_optimizer(server),
    }


def with_shared_chunk(setting: Setting) -> Setting:
    """The same setting, with the chunk that suits clients of plain local SGD that share wide layers, where they do."""
    shared = setting.federation.make_steps(setting.federation.loss).at_once
    if shared == 1 or platforms.current().side_by_side:
        return setting
    share = -(-setting.sampler.capacity // setting.devices)
    return with_chunk(setting, min(shared, share))


def make_sampler(cohorts: Cohorts, sizes: np.ndarray) -> Sampler:
    """Draws cohorts of clients that hold `sizes` (i[N]) examples."""
    return sampling.make(
        cohorts.participation,
        clients=len(sizes),
        cohort_size=cohorts.places(len(sizes)),
        sizes=sizes,
        dropout=cohorts.dropout,
    )


def choose_chunk(chunk: int | Literal["auto"], cohort_size: int, devices: int) -> int:
    """Clients that are vmapped together, on each device at most its share of the cohort.

    An automatic one is a single client on CPU, where a scan beats a vmap, and the whole share on accelerators.

    Raises:
        UsageError: More than the cohort.
    """
    share = -(-cohort_size // devices)
    if chunk == "auto":
        return share if platforms.current().side_by_side else 1
    if chunk > cohort_size:
        raise errors.UsageError(f"--chunk = {chunk} is out of range; allowed: 1 to {cohort_size}, the cohort")
    return min(chunk, share)


def make_plan(training: Training, sizes: np.ndarray) -> Plan:
    """The local work of clients that hold `sizes` (i[N]) examples; a batch is at most all of the largest client."""
    batch_size = min(training.batch_size, int(sizes.max()))
    epochs, steps = training.local_epochs, training.local_steps
    if steps is None:
        return Plan(batch_size, epochs, None, epochs)
    fewest_steps_in_a_pass = -(-int(sizes.min()) // batch_size)
    return Plan(batch_size, None, steps, -(-steps // fewest_steps_in_a_pass))


def steps_of(
    model: Model, params: PyTree, plan: Plan, most: int, shared: Literal["auto", "off"]
) -> Callable[[Callable], Steps]:
    """Loss -> local SGD whose result is summed: clients share wide layers where that pays, unless it is off.

    Args:
        model: Whose layers.
        params: Of the model, shapes are enough.
        plan: Of local training.
        most: Examples of the client that holds most.
        shared: `--shared-weights`.
    """
    steps = plan.most_steps(most)
    wide = shared_weights.wide_layers(params, model.uses, steps * plan.batch_size) if shared == "auto" else {}
    if not wide:
        return with_own_weights
    return functools.partial(shared_weights.with_shared_weights, wide=wide, plan=plan, steps=steps)


def make_client_optimizer(training: Training) -> Callable[..., optax.GradientTransformation]:
    """Learning rate -> the clients' optimiser."""
    return functools.partial(
        local_training.client_sgd,
        momentum=training.client_momentum,
        nesterov=training.client_nesterov,
        weight_decay=training.weight_decay,
        clip_norm=training.clip_norm,
    )


def rate_by_round(rate: float, schedule: str, rounds: int) -> Callable[[jax.Array], jax.Array]:
    """Round number t = 1..T -> learning rate."""
    table = rate * np.asarray(factors(schedule, rounds))
    return lambda t: jnp.asarray(table, jnp.result_type(float))[t - 1]


def make_server_optimizer(server: Server) -> optax.GradientTransformation:
    """The server's optimiser."""
    return fedopt.make(
        server.server_opt,
        server.server_lr,
        server.server_momentum,
        server.server_decay,
        server.server_tau,
    )


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
