"""The program of a run: gather, round, scatter, many rounds to a dispatch. The only `jit` of a run."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse import trees
from fedjax_sparse.clients import host_store
from fedjax_sparse.clients.state_store import StateStore, in_order, make_state_store
from fedjax_sparse.data import population as populations
from fedjax_sparse.devices import meshes, platforms
from fedjax_sparse.devices.tracing import traced, uncollected
from fedjax_sparse.simulation import client_evaluation, evaluation
from fedjax_sparse.simulation.setting import Setting
from fedjax_sparse.types import Algorithm, Metrics, PyTree, State, Variables

MAX_BLOCK = 10  # rounds between two visits of the host, so that a run shows progress and stops soon
# What randomness is for; folded into the seed so that no two purposes share a key.
INIT, CLIENT_STATES, PREPARE, ROUNDS, TUNING = range(5)


class RunState(NamedTuple):
    """Everything that a run carries from block to block: K seeds along the leading axis of every leaf."""

    server: PyTree
    clients: PyTree


class Assessment(NamedTuple):
    """One evaluation of K seeds.

    Attributes:
        deployed: The model that all clients deploy; None where they deploy different ones.
        server: The server's own model where it is another; else None.
        clients: The models of all clients, one by one; None where all deploy one model and nobody tunes it.
    """

    deployed: evaluation.Tested | None
    server: evaluation.Tested | None
    clients: client_evaluation.ClientScores | None = None


class Program(NamedTuple):
    """The functions of a run; what they jit compiles once.

    Attributes:
        start: (population, seeds i32[K]) -> (state, metrics of the preparation or None). A preparation visits everyone
            at once: for once, the states of all clients are on the device.
        dispatch: What runs on the device at once: (state, population, ids i32[K, R, C], present bool[K, R, C], first
            round, rounds, seeds) -> (state, metrics with leading axes [K, R]); `rounds` of the R are run. The state
            is donated. Where the states lie on the host, R = 1 and the clients' states are those of the cohort.
        assess: What evaluates on the device: (state, test set) -> `Assessment`. Where the states lie on the host, the
            clients' states are those of one client.
        assess_clients: (state, population, test set, ids i32[n], round, seeds) -> `ClientScores` of the n clients whose
            states it is given, or None where all deploy one model and nobody tunes it.
        store: How the clients' states are kept.
        at_once: The n clients of one call of `assess_clients`.
        on_host: Whether they lie on the host.
    """

    start: Any
    dispatch: Any
    assess: Any
    assess_clients: Any
    store: StateStore
    at_once: int
    on_host: bool = False

    def begin(self, population: Any, seeds: np.ndarray) -> tuple[RunState, Metrics | None]:
        """What `start` makes, with the clients' states where they are kept."""
        state, metrics = self.start(population, seeds)
        if self.on_host:  # which writes to them; what comes from the device may only be read
            own = functools.partial(np.require, requirements="W")
            state = state._replace(clients=jax.tree.map(own, state.clients))
        return state, metrics

    def block(self, *arguments: Any) -> tuple[RunState, Metrics]:
        """Some rounds, with the arguments of `dispatch` and the states of all clients."""
        return host_store.run_block(self.dispatch, *arguments) if self.on_host else self.dispatch(*arguments)

    def evaluate(
        self, state: RunState, population: Any, test: evaluation.TestSet, t: int, seeds: np.ndarray
    ) -> Assessment:
        """The models of a state with the states of all clients, tested after round t."""
        someone = state
        if self.on_host:
            someone = state._replace(clients=jax.tree.map(lambda leaf: leaf[:, :1], state.clients))
        assessment = self.assess(someone, test)
        if self.assess_clients is None:
            return assessment
        everyone, parts = population.count.shape[0], []
        for first in range(0, everyone, self.at_once):
            ids = np.arange(first, first + self.at_once, dtype=np.int32)
            some = state
            if self.on_host:
                rows = host_store.gather(state.clients, np.broadcast_to(ids, (len(seeds), len(ids))))
                some = state._replace(clients=rows)
            ids = np.minimum(ids, everyone)
            parts.append(self.assess_clients(some, population, test, ids, np.int32(t), seeds))
        clients = client_evaluation.merged(jax.device_get(parts), everyone)
        return assessment._replace(clients=clients)


class Footprint(NamedTuple):
    """Bytes that a run needs on each device, by XLA's account of what `compile_ahead` compiles.

    Attributes:
        kept: Of what stays there: the training data and the states; of states on the host those of a cohort, or
            everyone's where all clients prepare.
        temporary: The most that is needed besides, while clients prepare, rounds are run or models tested.
    """

    kept: int
    temporary: int


@uncollected()
def compile_ahead(algorithm: Algorithm, setting: Setting, seeds: int = 1) -> tuple[Program, Footprint]:
    """The program of a run with all compiled that takes much memory, and the memory that it needs.

    That is its rounds, its evaluation and a preparation by all clients.
    """
    program = compile_program(algorithm, setting, seeds)
    on_host, places = setting.state_store == "host", setting.sampler.capacity
    rounds = 1 if on_host else MAX_BLOCK

    def each_seed(leaf: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((seeds, *(shape or leaf.shape)), leaf.dtype)

    def shapes(tree: Any) -> Any:
        return jax.eval_shape(lambda leaves: leaves, tree)

    one_seed = state_shapes(algorithm, setting)

    def state(clients: int) -> RunState:
        """With the states of all clients or, on the host, of so many."""
        stored = jax.tree.map(
            lambda leaf: each_seed(leaf, clients, *leaf.shape[1:]) if on_host else each_seed(leaf),
            one_seed.clients,
        )
        return RunState(jax.tree.map(each_seed, one_seed.server), stored)

    number, flag = np.int32(0), np.bool_(0)
    block = program.dispatch.lower(
        state(places),
        shapes(setting.population),
        each_seed(number, rounds, places),
        each_seed(flag, rounds, places),
        number,
        number,
        each_seed(number),
    ).compile()
    assess = program.assess.lower(state(1), shapes(setting.test)).compile()
    program, training = program._replace(dispatch=block, assess=assess), [block.memory_analysis()]
    testing = [assess.memory_analysis()]
    if program.assess_clients is not None:
        assess_clients = program.assess_clients.lower(
            state(program.at_once),
            shapes(setting.population),
            shapes(setting.test),
            jax.ShapeDtypeStruct((program.at_once,), number.dtype),
            number,
            each_seed(number),
        ).compile()
        program = program._replace(assess_clients=assess_clients)
        testing.append(assess_clients.memory_analysis())
    if algorithm.prepare is not None:  # work of all clients
        start = program.start.lower(shapes(setting.population), each_seed(number)).compile()
        program, training = program._replace(start=start), [*training, start.memory_analysis()]
    most = max(each.temp_size_in_bytes for each in (*training, *testing))
    return program, Footprint(max(_kept(each) for each in training), most)


def _kept(needs: Any) -> int:
    """Bytes of what a compiled function is given and gives."""
    return needs.argument_size_in_bytes + needs.output_size_in_bytes - needs.alias_size_in_bytes


def compile_program(algorithm: Algorithm, setting: Setting, seeds: int = 1) -> Program:
    """Builds the program of a run; compilation itself happens at each function's first call."""
    if setting.state_store == "host":
        return _compile_for_host(algorithm, setting, seeds)
    return _compile(algorithm, setting, make_store(algorithm, setting), seeds)


def start_by_numbers(begun: Callable[[Any], Algorithm], setting: Setting, runs: int) -> Any:
    """What `Program.start` is, with each run's own numbers as a third argument; client states lie on the device.

    Args:
        begun: One run's numbers, traced -> the algorithm that begins with them.
        setting: Where they run.
        runs: How many, K.
    """

    def start(population: Any, seed: Any, numbers: Any) -> tuple[RunState, Any]:
        algorithm = begun(numbers)
        return _start(algorithm, setting.model.init, make_store(algorithm, setting), population, seed)

    shared, state = _places(setting)
    return _jit(_over_seeds(start, runs, (None, 0, 0)), in_shardings=shared, out_shardings=(state, shared))


def _places(setting: Setting) -> tuple[Any, RunState]:
    """Where lies what all devices have, and where a state."""
    shared = meshes.everywhere(setting.mesh)
    clients = meshes.by_client(setting.mesh) if setting.state_store == "device" else shared
    return shared, RunState(shared, clients)


def _jit(function: Callable, **options: Any) -> Any:
    return jax.jit(function, compiler_options=dict(platforms.current().compiler_options), **options)


def _compile(algorithm: Algorithm, setting: Setting, store: StateStore, seeds: int) -> Program:
    evaluate = evaluation.make_evaluate(setting.model, setting.preprocess, setting.class_metrics)
    start = functools.partial(_start, algorithm, setting.model.init, store)
    everyone, on_host = setting.federation.population, setting.state_store == "host"
    whole = setting.sampler.in_order and everyone % setting.devices == 0  # the store has no rows besides
    block = functools.partial(_block, algorithm, in_order(store) if whole else store)
    objective = evaluation.make_objective(setting.model, setting.preprocess)
    assess = functools.partial(
        _assess, algorithm, store, evaluation.shared_by(evaluate, setting.mesh), objective
    )
    shared, state = _places(setting)
    assess_clients = None
    if algorithm.personal or setting.tuned_accuracy:
        one_by_one = client_evaluation.make_evaluate_clients(
            algorithm, setting.federation, store, evaluate, setting.tuned_accuracy
        )
        assess_clients = _jit(
            _over_seeds(functools.partial(_assess_clients, one_by_one), seeds, (0, *[None] * 4, 0)),
            in_shardings=(state, *[shared] * 5),
            out_shardings=shared,
        )
    return Program(
        _jit(_over_seeds(start, seeds, (None, 0)), in_shardings=shared, out_shardings=(state, shared)),
        _jit(
            _over_seeds(block, seeds, (0, None, 0, 0, None, None, 0)),
            donate_argnums=0,
            in_shardings=(state, *[shared] * 6),
            out_shardings=(state, shared),
        ),
        _jit(_over_seeds(assess, seeds, (0, None)), in_shardings=(state, shared), out_shardings=shared),
        assess_clients,
        store,
        setting.sampler.capacity if on_host else everyone + -everyone % setting.devices,
        on_host,
    )


def _compile_for_host(algorithm: Algorithm, setting: Setting, seeds: int) -> Program:
    """The same program around states in the host's memory: on the device, a block is a round, its store the cohort."""
    store = make_store(algorithm, setting)
    program = _compile(algorithm, setting, in_order(store), seeds)._replace(store=store)
    if algorithm.prepare is not None:
        return program

    def server(population, seed):
        return _start(algorithm, setting.model.init, store, population, seed)[0].server

    def create(seed, ids):
        init_key, _, client_key = _first_keys(seed)
        return store.create(setting.model.init(init_key), client_key, ids)

    shared = meshes.everywhere(setting.mesh)
    start_server = _jit(_over_seeds(server, seeds, (None, 0)), in_shardings=shared, out_shardings=shared)
    # `host_store` traces this for its shapes, and what is traced inside must not have options of its own.
    start_clients = jax.jit(_over_seeds(create, seeds, (0, None)))

    def start(population, seed_array):
        size = setting.federation
        rows = functools.partial(start_clients, seed_array)
        clients = host_store.create(rows, size.population, size.cohort_size)
        return RunState(start_server(population, seed_array), clients), None

    return program._replace(start=start)


def state_shapes(algorithm: Algorithm, setting: Setting, devices: int | None = None) -> RunState:
    """ShapeDtypeStructs of one seed's state, shared by so many devices; None for those of the setting."""
    store = make_store(algorithm, setting, devices)
    start = functools.partial(_start, algorithm, setting.model.init, store)
    return jax.eval_shape(start, setting.population, np.int32(0))[0]


def make_store(algorithm: Algorithm, setting: Setting, devices: int | None = None) -> StateStore:
    """How the clients' states of a run are kept, shared by so many devices; None for those of the setting."""
    variables = jax.eval_shape(setting.model.init, jax.eval_shape(lambda: jax.random.key(0)))
    sharing = devices or setting.devices if setting.state_store == "device" else 1
    return make_state_store(algorithm.init_client, variables, setting.federation.population, sharing)


def _over_seeds(function: Callable, seeds: int, in_axes: tuple) -> Callable:
    """Runs the function for K seeds, in one program; `in_axes` is 0 for arguments with a seed axis, else None.

    Accelerators run the seeds side by side. A CPU has nothing to gain from that: one seed's products fill a core, and
    convolutions of weights that differ by seed are slow there, and take minutes to compile. It runs one after another.
    A single seed is run as it is, since a vmap over one would batch every layer.
    """

    def run(*args: Any) -> Any:
        def of_one(batched: list) -> Any:
            own = iter(batched)
            return function(*(arg if axis is None else next(own) for arg, axis in paired))

        paired = [*zip(args, in_axes, strict=True)]
        batched = [arg for arg, axis in paired if axis is not None]
        if seeds == 1:
            out = of_one(jax.tree.map(lambda leaf: leaf[0], batched))
            return jax.tree.map(lambda leaf: leaf[None], out)
        return jax.vmap(of_one)(batched) if platforms.current().side_by_side else jax.lax.map(of_one, batched)

    return run


def _start(
    algorithm: Algorithm, init_model: Callable, store: StateStore, population, seed
) -> tuple[RunState, Any]:
    init_key, server_key, client_key = _first_keys(seed)
    variables = init_model(init_key)
    server = algorithm.init(variables, server_key)
    clients = store.create(variables, client_key)
    if algorithm.prepare is None:
        return RunState(server, clients), None
    everyone = jnp.arange(population.count.shape[0], dtype=jnp.int32)
    cohort = populations.gather(population, everyone, jnp.ones_like(everyone, bool))
    state = State(server, store.gather(clients, everyone))
    state, metrics = algorithm.prepare(state, cohort, jax.random.fold_in(jax.random.key(seed), PREPARE))
    return RunState(state.server, store.scatter(clients, everyone, state.client)), metrics


def _first_keys(seed) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of the model, of the server's state and of the clients' states."""
    key = jax.random.key(seed)
    model_key, server_key = jax.random.split(jax.random.fold_in(key, INIT))
    return model_key, server_key, jax.random.fold_in(key, CLIENT_STATES)


def _block(algorithm: Algorithm, store: StateStore, state, population, ids, present, first, rounds, seed):
    round_key = jax.random.fold_in(jax.random.key(seed), ROUNDS)

    def one_round(state: RunState, i: jax.Array) -> tuple[RunState, Metrics]:
        t = first + i
        cohort = populations.gather(population, ids[i], present[i])
        cohort_state = State(state.server, store.gather(state.clients, cohort.id))
        new, metrics = algorithm.round(cohort_state, cohort, t, jax.random.fold_in(round_key, t))
        return RunState(new.server, store.scatter(state.clients, cohort.id, new.client)), metrics

    run_round, (_, shapes) = traced(one_round, state, first)

    def step(i, carry):
        state, history = carry
        state, metrics = run_round(state, i)
        return state, jax.tree.map(lambda past, now: past.at[i].set(now), history, metrics)

    history = jax.tree.map(lambda leaf: jnp.zeros((ids.shape[0], *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, rounds, step, (state, history))


def deployed(algorithm: Algorithm, store: StateStore, state: RunState) -> Variables:
    """What is deployed of one seed's state; where clients' models differ, that of the first client."""
    someone = store.gather(state.clients, jnp.zeros((1,), jnp.int32))
    return algorithm.model(state.server, jax.tree.map(lambda leaf: leaf[0], someone))


def _assess(
    algorithm: Algorithm,
    store: StateStore,
    evaluate: Callable,
    objective: Callable,
    state: RunState,
    test: evaluation.TestSet,
) -> Assessment:
    def tested(variables):
        scores, answers = evaluate(variables, test)
        own = None if test.own is None else evaluation.on_own(answers, test.own)
        value = None if test.objective is None else objective(variables, test.objective)
        return evaluation.Tested(scores, own, trees.count_nonzero(variables.params), value)

    server = None if algorithm.server_model is None else tested(algorithm.server_model(state.server))
    if algorithm.personal:
        return Assessment(None, server)
    return Assessment(tested(deployed(algorithm, store, state)), server)


def _assess_clients(one_by_one: Callable, state: RunState, population, test, ids, t, seed):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), TUNING), t)
    return one_by_one(State(state.server, state.clients), population, test, ids, t, key)
