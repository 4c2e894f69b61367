"""What passes between the parts of a simulation. Nothing here computes.

Axis letters: N population, C cohort, S most examples that one client holds, B batch, M examples in the
pool, L parameter leaves, P parameters.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import optax

PyTree = Any


class Variables(NamedTuple):
    """What a model is made of: `params` are trained and may be pruned, `stats` (BatchNorm) are neither."""

    params: PyTree
    stats: PyTree = ()


class Product(NamedTuple):
    """A matrix [I, O] that is not made: left [R, I] transposed times right [R, O]. A sum of several is one product."""

    left: jax.Array
    right: jax.Array


class Pool(NamedTuple):
    """Every training example once: `x[M, ...]` (uint8 where it can be) and `y[M, ...]`."""

    x: jax.Array
    y: jax.Array


class Client(NamedTuple):
    """One place of a cohort, as local work sees it (the fields of `Cohort` without their leading axis)."""

    id: jax.Array
    weight: jax.Array
    index: jax.Array
    count: jax.Array
    pool: Pool


class Cohort(NamedTuple):
    """The C clients invited to a round.

    Attributes:
        id: i32[C]; `population` for an empty place.
        weight: f[C], the weight in means; 0 for an empty place or an invited client that dropped out.
        index: i32[C, S], rows of the pool; only the first `count` are the client's.
        count: i32[C], how many examples the client holds.
        pool: The examples of all clients, shared.
        population: i32[], N.
    """

    id: jax.Array
    weight: jax.Array
    index: jax.Array
    count: jax.Array
    pool: Pool
    population: jax.Array

    @property
    def invited(self) -> jax.Array:
        """bool[C]: the server sent its model here."""
        return self.id < self.population

    @property
    def present(self) -> jax.Array:
        """bool[C]: the client trained and answered."""
        return self.weight > 0


class Batch(NamedTuple):
    """One local step's examples.

    Attributes:
        x: [B, ...], as stored in the pool.
        y: [B, ...].
        mask: bool[B]; False marks the padding of a last, partial batch.
        key: For dropout and augmentation, different in each step of each client.
        step: i32[], the local step's number within the round, from 0.
    """

    x: jax.Array
    y: jax.Array
    mask: jax.Array
    key: jax.Array
    step: jax.Array


class Message(NamedTuple):
    """What was sent, as counts; bytes follow in `costs`. Each field is i32[C], zero where nothing was sent.

    Attributes:
        size: Scalars in the message when nothing is left out.
        values: Scalars that a sparse encoding sends.
        located: How many of `values` lie where the receiver cannot know; each needs its position.
        universe: The number of positions among which the located values lie.
        mask_bits: Bits of masks or seeds sent as such, beside the values.
        code_bits: Bits of codes, such as signs or levels, that a sparse encoding sends in place of the other scalars of
            `size`; a dense one sends those themselves.
    """

    size: jax.Array
    values: jax.Array
    located: jax.Array
    universe: jax.Array
    mask_bits: jax.Array
    code_bits: jax.Array


class Work(NamedTuple):
    """Training work, as factors whose product (on the host, in exact integers) is a number of FLOPs.

    Attributes:
        examples: i32[C], examples passed through the model, padding not counted.
        steps: i32[C], local steps.
        forward: i32[C, L], live entries of each parameter leaf in the forward pass.
        input_grad: i32[C, L], the same for the gradient with respect to the layer's input.
        weight_grad: i32[C, L], the same for the gradient with respect to the weights.
    """

    examples: jax.Array
    steps: jax.Array
    forward: jax.Array
    input_grad: jax.Array
    weight_grad: jax.Array


class Ranking(NamedTuple):
    """How far scores decided a mask; see `fedjax_sparse.sparsity.masks.ranking`. Each i32[], or i32[C] of each client.

    Attributes:
        nonzero: Scores that were not zero.
        by_index: Kept entries that tie with entries that were not, where all that was kept ties or ties at zero: their
            place decided, not their score.
    """

    nonzero: jax.Array
    by_index: jax.Array


class Metrics(NamedTuple):
    """What a round reports beside its state.

    Attributes:
        up: From each client to the server.
        down: From the server to each client.
        work: Local training.
        loss: f[C], each client's mean training loss over its local steps.
        log: Further scalars (f[]), values per client (f[C], averaged over those present) or per pair of clients
            (f[C, C], averaged over two different ones), by name.
        ranking: Where a mask was found by scores, how far they decided it; the first time that they did not is said.
    """

    up: Message
    down: Message
    work: Work
    loss: jax.Array
    log: Mapping[str, jax.Array]
    ranking: Ranking | None = None


class State(NamedTuple):
    """Everything that outlives a round.

    Attributes:
        server: Shared and replicated.
        client: States of the cohort, leading axis C; `()` where clients keep nothing.
    """

    server: PyTree
    client: PyTree


class Trained(NamedTuple):
    """What local training leaves behind.

    Attributes:
        variables: The client's model after its last step.
        loss: f[], mean over the examples of all steps (0 where there were none).
        examples: i32[], examples passed through the model, padding not counted.
        steps: i32[], local steps taken.
        moments: The optimiser's state after the last step.
    """

    variables: Variables
    loss: jax.Array
    examples: jax.Array
    steps: jax.Array
    moments: PyTree = ()


class Federation(NamedTuple):
    """What an algorithm is built from: everything that papers share, with its options already bound.

    Attributes:
        loss: (variables, batch, ops) -> (mean loss f[], new stats); without `ops` the model's own layers are used.
        loss_of: ((outputs, y) -> f[B] or None, train) -> a `loss` with that loss of each example in place of the
            model's own, and the model in training mode or not.
        correct: (outputs, y) -> f[B], the fraction of each example that is right; None for regression.
        train: (gradient, variables, client, t, key, project, steps, moments) -> `Trained`: local SGD. `gradient` is
            (variables, batch) -> (loss, new stats, gradients); `project` maps params to params after each step;
            `steps` = (first, end) restricts or extends the plan's local steps; `moments` is an optimiser state to
            go on from.
        make_steps: (loss) -> local SGD on it whose result is only summed, see `fedjax_sparse.clients.steps.Steps`: what
            averaging rounds use where nothing but SGD moves the weights.
        client_optimizer: Learning rate -> the optax transformation of local SGD.
        task: Of the data: "classification", "regression" or "text".
        test_loss: Variables -> f[], the mean loss on the test set; for parity with code that looks at it alone.
        plan: How much a client trains, see `fedjax_sparse.clients.local_training.Plan`.
        client_rate: Round number t -> the clients' learning rate.
        over_clients: (work, shared, client states, cohort, key) -> (sum of what was sent, client states, logs[C]),
            with work: (shared, client state, client, key) -> (sent, client state, log).
        server_optimizer: An optax transformation, fed with minus the mean client step.
        params: ShapeDtypeStructs of the model's parameters.
        kinds: "kernel", "bias", "norm" or "embedding" for each parameter leaf.
        uses: How often an example uses each entry of a leaf, see `fedjax_sparse.models.model.Model`; Python ints.
        input_grad: Whether back-propagation needs the gradient of the leaf's input; Python bools.
        stats_size: Scalars of model statistics that travel with the parameters.
        rounds: T, the length of the run, for schedules.
        population: N.
        examples: How many examples all clients hold together.
        cohort_size: C, the places in a cohort.
    """

    loss: Callable[..., tuple[jax.Array, PyTree]]
    loss_of: Callable[..., Callable[..., tuple[jax.Array, PyTree]]]
    correct: Callable[[jax.Array, jax.Array], jax.Array] | None
    train: Callable[..., Trained]
    make_steps: Callable[..., Any]
    client_optimizer: Callable[[jax.Array | float], optax.GradientTransformation]
    task: Literal["classification", "regression", "text"]
    test_loss: Callable[[Variables], jax.Array]
    plan: Any
    client_rate: Callable[[jax.Array], jax.Array]
    over_clients: Callable[..., tuple[PyTree, PyTree, PyTree]]
    server_optimizer: optax.GradientTransformation
    params: PyTree
    kinds: PyTree
    uses: PyTree
    input_grad: PyTree
    stats_size: int
    rounds: int
    population: int
    examples: int
    cohort_size: int


class Declared(NamedTuple):
    """A promise that the contract tests hold an algorithm to: what is sparse after every round.

    Attributes:
        what: The server's model, the upload, the deployed model or each client's own model.
        how: The number kept is `exact`, at most that (`bounded`), or only `measured`.
        kept: Round number (from 1) -> entries kept among the prunable ones; None when `measured`.
        prunable: bool for each parameter leaf (Python bools): where sparsity is counted.
    """

    what: Literal["server", "upload", "deployed", "personal"]
    how: Literal["exact", "bounded", "measured"]
    kept: Callable[[int], int] | None
    prunable: PyTree


class Algorithm(NamedTuple):
    """A federated algorithm as pure functions; nothing here is jitted.

    Attributes:
        init: (variables, key) -> server state.
        init_client: (variables, client key) -> client state; vmapped over ids. Returns () where clients keep nothing.
        prepare: None, or (state, cohort, key) -> (state, metrics): runs once before round 1; its cohort is the whole
            population (or the sample that it asks for) and its costs count.
        round: (state, cohort, t, key) -> (state, metrics); `t` is i32[] and counts from 1.
        model: (server state, client state) -> the variables that this client would deploy.
        server_model: server state -> the server's own variables, where they differ from what is deployed; else None.
        declared: What is sparse after every round.
        personal: Whether clients deploy different models, so that each is tested by itself.
    """

    init: Callable[[Variables, jax.Array], PyTree]
    init_client: Callable[[Variables, jax.Array], PyTree]
    prepare: Callable[[State, Cohort, jax.Array], tuple[State, Metrics]] | None
    round: Callable[[State, Cohort, jax.Array, jax.Array], tuple[State, Metrics]]
    model: Callable[[PyTree, PyTree], Variables]
    server_model: Callable[[PyTree], Variables] | None = None
    declared: tuple[Declared, ...] = ()
    personal: bool = False
