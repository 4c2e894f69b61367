"""FLARE and its rivals against a slow twin, against each other, and against what follows from their update rules.

The twin is a loop over clients, steps and tensors in NumPy, written from the pseudo-code alone. It trains on whole
clients, one batch a pass, so that no order of examples comes in.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import trees
from fedjax_sparse.algorithms.flare import _larger_counts
from fedjax_sparse.baselines.error_feedback import Losses, ef21, ffl
from fedjax_sparse.config.cards.error_feedback import EF21, FFL
from fedjax_sparse.config.cards.flare import Flare
from fedjax_sparse.config.sections import Cohorts, Training
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.arrays import Dataset
from fedjax_sparse.errors import UsageError
from fedjax_sparse.models import model as models
from fedjax_sparse.rounds import error_feedback
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.setting import make_setting
from fedjax_sparse.sparsity import compression
from fedjax_sparse.types import State, Trained, Variables
from tests import toy

N = len(toy.SIZES)
EPOCHS, LR, MOMENTUM = 3, 0.2, 0.9
EVERYONE = (np.arange(N), np.ones(N, bool))
# One client drops out in the second round, and who stayed away keeps a residual from before.
COHORTS = (
    (np.asarray([0, 2, 4, 6, 1, N, N]), np.asarray([1, 1, 1, 1, 1, 0, 0], bool)),
    (np.asarray([1, 2, 3, 6, N, N, N]), np.asarray([1, 1, 1, 0, 0, 0, 0], bool)),
    (np.asarray([0, 1, 2, 5, 6, N, N]), np.asarray([1, 1, 1, 1, 1, 0, 0], bool)),
)


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


# Running the library: one jitted round for each member of the family.


class Runner(NamedTuple):
    start: State
    round: Callable[..., Any]


@functools.cache
def runner(name: str, hyper: tuple[tuple[str, Any], ...] = (), epochs: int = EPOCHS) -> Runner:
    setting = toy.setting(
        rounds=8,
        cohort_size=N,
        batch_size=max(toy.SIZES),
        local_epochs=epochs,
        client_lr=LR,
        client_momentum=MOMENTUM,
    )
    algorithm = toy.algorithm(name, setting, **dict(hyper))
    population = jax.tree.map(jnp.asarray, setting.population._replace(weight=np.ones(N)))

    def round_fn(state, ids, present, t):
        cohort = populations.gather(population, ids, present)
        kept = jax.tree.map(lambda leaf: leaf.at[cohort.id].get(mode="clip"), state.client)
        new, metrics = algorithm.round(State(state.server, kept), cohort, t, jax.random.key(t))
        scatter = functools.partial(jax.tree.map, lambda old, row: old.at[cohort.id].set(row, mode="drop"))
        return State(new.server, scatter(state.client, new.client)), metrics

    variables = Variables(as_tree(first_params()))
    one = algorithm.init_client(variables, jax.random.key(0))
    clients = jax.tree.map(lambda leaf: jnp.stack([leaf] * N), one)
    return Runner(State(algorithm.init(variables, jax.random.key(0)), clients), jax.jit(round_fn))


def run(name: str, cohorts=COHORTS, epochs: int = EPOCHS, **hyper: Any) -> list[State]:
    """The state before the first round and after each."""
    made = runner(name, tuple(sorted(hyper.items())), epochs)
    states = [made.start]
    for t, (ids, present) in enumerate(cohorts, start=1):
        states.append(made.round(states[-1], jnp.asarray(ids), jnp.asarray(present), jnp.int32(t))[0])
    return states


def params_of(state: State) -> dict[str, np.ndarray]:
    return as_dict(state.server.variables.params)


def residuals_of(state: State) -> list[dict[str, np.ndarray]]:
    return [as_dict(jax.tree.map(lambda leaf, i=i: leaf[i], state.client)) for i in range(N)]


def as_dict(tree) -> dict[str, np.ndarray]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def as_tree(params: dict[str, np.ndarray]):
    layers = sorted({name.split("/")[0] for name in params})
    return {
        layer: {kind: jnp.asarray(params[f"{layer}/{kind}"]) for kind in ("bias", "kernel")}
        for layer in layers
    }


# The twin.

Params = dict[str, np.ndarray]


def first_params() -> Params:
    """4-5-3, biases included so that nothing starts at a tie."""
    rng = np.random.default_rng(3)
    shapes = {"Dense_0/bias": 5, "Dense_0/kernel": (4, 5), "Dense_1/bias": 3, "Dense_1/kernel": (5, 3)}
    return {name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()}


def data_of(client: int) -> tuple[np.ndarray, np.ndarray]:
    data = toy.dataset()
    bounds = np.cumsum((0, *toy.SIZES))
    rows = slice(bounds[client], bounds[client + 1])
    return np.asarray(data.x_train)[rows], np.asarray(data.y_train)[rows]


def loss_and_gradient(w: Params, x: np.ndarray, y: np.ndarray) -> tuple[float, Params]:
    hidden = x @ w["Dense_0/kernel"] + w["Dense_0/bias"]
    active = np.maximum(hidden, 0)
    logits = active @ w["Dense_1/kernel"] + w["Dense_1/bias"]
    scores = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = scores / scores.sum(1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(y)), y]).mean()
    d_logits = (probabilities - np.eye(3)[y]) / len(y)
    d_hidden = (d_logits @ w["Dense_1/kernel"].T) * (hidden > 0)
    return float(loss), {
        "Dense_0/bias": d_hidden.sum(0),
        "Dense_0/kernel": x.T @ d_hidden,
        "Dense_1/bias": d_logits.sum(0),
        "Dense_1/kernel": active.T @ d_logits,
    }


def keep_largest(u: np.ndarray, percent: float, rule: str) -> np.ndarray:
    """What is sent of one tensor."""
    size = np.abs(u).ravel()
    sent = np.zeros_like(size)
    if rule == "exact":
        chosen = np.argsort(-size, kind="stable")[: max(1, round(size.size * percent / 100))]
        sent[chosen] = u.ravel()[chosen]
        return sent.reshape(u.shape)
    m = round(size.size * percent / 100)
    threshold = np.sort(size)[::-1][m + 1] if m + 1 < size.size else 0
    return np.where(np.abs(u) > threshold, u, 0)


def larger_half(a: np.ndarray, percentile: float) -> np.ndarray:
    """What exceeds the percentile of TensorFlow Probability: ascending entry round((n - 1) q / 100), halves to even."""
    ascending = np.sort(np.abs(a).ravel())
    return np.abs(a) > ascending[int(np.rint((a.size - 1) * percentile / 100))]


def zeros(like: Params) -> Params:
    return {name: np.zeros_like(value) for name, value in like.items()}


class Twin(NamedTuple):
    """What the twin says after each round, and the clients' updates D of each round."""

    params: list[Params]
    memories: list[list[Params]]
    updates: list[dict[int, Params]]


def twin(name: str, cohorts=COHORTS, epochs: int = EPOCHS, **hyper: Any) -> Twin:
    percent, rule = hyper.get("keep_percent", 1.0), hyper.get("count_rule", "exact")
    w, memories, g = first_params(), [zeros(first_params()) for _ in range(N)], zeros(first_params())
    first_loss = last_loss = None
    out = Twin([w], [memories], [])
    for t, (ids, present) in enumerate(cohorts, start=1):
        clients = [int(i) for i, here in zip(ids, present, strict=True) if here]
        ratio = last_loss / first_loss if name == "ffl" and first_loss and last_loss else 1.0
        steps = max(1, int(np.rint(epochs * ratio ** (1 / 3)))) if name == "ffl" else epochs
        percent_now = min(100, percent * ratio ** (-1 / 3))
        updates, losses, sums = {}, {}, zeros(w)
        memories = list(memories)
        for i in clients:
            updates[i], losses[i] = local_update(name, w, memories[i], *data_of(i), t, steps, hyper)
            added, memories[i] = exchanged(name, updates[i], memories[i], percent_now, rule, hyper)
            sums = {name: sums[name] + added[name] for name in sums}
        if name == "ef21" and hyper.get("state_mean", "all") == "all":
            g = {leaf: g[leaf] + sums[leaf] / N for leaf in g}
            step = g
        else:
            step = {leaf: sums[leaf] / len(clients) for leaf in sums}
        w = {leaf: w[leaf] + step[leaf] for leaf in w}
        examples = {i: toy.SIZES[i] * steps for i in clients}
        last_loss = sum(losses[i] * examples[i] for i in clients) / sum(examples.values())
        first_loss = first_loss or last_loss
        out = Twin([*out.params, w], [*out.memories, memories], [*out.updates, updates])
    return out


def local_update(name, server, memory, x, y, t, steps, hyper) -> tuple[Params, float]:
    w = {leaf: value.copy() for leaf, value in server.items()}
    velocity, losses = zeros(w), []
    p = hyper.get("first_steps", 1)
    p = steps if p == "all" else p
    for s in range(steps):
        loss, gradient = loss_and_gradient(w, x, y)
        losses.append(loss)
        if name == "flare" and s == p and hyper.get("restart_momentum", False):
            velocity = zeros(w)
        for leaf in w:
            total = gradient[leaf]
            if name == "flare" and s < p:
                tau = hyper.get("tau", 0.05) / hyper.get("decay", 1.01) ** t
                mask = larger_half(memory[leaf], hyper.get("percentile", 50))
                distance = w[leaf] - (server[leaf] + memory[leaf])
                slope = np.sign(distance) if hyper.get("norm", "l1") == "l1" else 2 * distance
                total = total + tau * mask * slope
            if name in ("fedprox", "fedprox-error-correction"):
                total = total + hyper.get("mu", 0.01) / hyper.get("decay", 1.0) ** t * (
                    w[leaf] - server[leaf]
                )
            velocity[leaf] = MOMENTUM * velocity[leaf] + total
            w[leaf] = w[leaf] - LR * velocity[leaf]
    return {leaf: w[leaf] - server[leaf] for leaf in w}, float(np.mean(losses))


def exchanged(name, update, memory, percent, rule, hyper) -> tuple[Params, Params]:
    if name in ("fedavg", "fedprox"):
        return update, memory
    if name == "ef21":
        change = {leaf: keep_largest(update[leaf] - memory[leaf], percent, rule) for leaf in update}
        known = {leaf: memory[leaf] + change[leaf] for leaf in update}
        return known if hyper.get("state_mean", "all") == "cohort" else change, known
    owed = {leaf: update[leaf] + memory[leaf] for leaf in update}
    sent = {leaf: keep_largest(owed[leaf], percent, rule) for leaf in owed}
    return sent, {leaf: owed[leaf] - sent[leaf] for leaf in owed}


MEMBERS = [
    ("flare", {"keep_percent": 20.0, "tau": 0.3, "decay": 1.1}),
    (
        "flare",
        {
            "keep_percent": 20.0,
            "tau": 0.3,
            "first_steps": 2,
            "percentile": 30.0,
            "norm": "l2",
            "count_rule": "plus-one",
            "restart_momentum": True,
        },
    ),
    ("flare", {"keep_percent": 10.0, "tau": 0.3, "first_steps": "all"}),
    ("error-correction", {"keep_percent": 20.0}),
    ("error-correction", {"keep_percent": 20.0, "count_rule": "plus-one"}),
    ("ef21", {"keep_percent": 20.0}),
    ("ef21", {"keep_percent": 20.0, "state_mean": "cohort"}),
    ("fedprox", {"mu": 0.5}),
    ("fedprox-error-correction", {"keep_percent": 20.0, "mu": 0.5, "decay": 1.2}),
    ("ffl", {"keep_percent": 20.0}),
]


@pytest.mark.parametrize(("name", "hyper"), MEMBERS)
def test_agrees_with_its_slow_twin_for_three_rounds(name, hyper):
    expected = twin(name, **hyper)
    for t, state in enumerate(run(name, **hyper)):
        toy.leaves_close(params_of(state), expected.params[t])
        if name != "fedprox":
            toy.leaves_close(residuals_of(state), expected.memories[t])
    assert any(
        np.abs(expected.params[3][leaf] - expected.params[2][leaf]).max() > 1e-3 for leaf in first_params()
    )


# What follows from the rules.


def test_what_is_sent_and_what_is_kept_add_up_and_never_overlap():
    one = [(np.asarray([4] + [N] * 6), np.asarray([True] + [False] * 6))] * 3
    states = run("flare", one, keep_percent=20.0, tau=0.3, decay=1.1)
    updates = twin("flare", one, keep_percent=20.0, tau=0.3, decay=1.1).updates
    for before, after, update in zip(states, states[1:], updates, strict=False):
        for leaf, value in params_of(after).items():
            sent = value - params_of(before)[leaf]
            kept = residuals_of(after)[4][leaf]
            owed = update[4][leaf] + residuals_of(before)[4][leaf]
            np.testing.assert_allclose(sent + kept, owed, rtol=0, atol=1e-14)
            assert not ((sent != 0) & (kept != 0)).any()


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("error-correction", {}),
        ("fedprox-error-correction", {"mu": 0.5}),
        ("flare", {"tau": 0.3, "first_steps": "all"}),
    ],
)
def test_model_and_mean_residual_telescope(name, hyper):
    cohorts = [EVERYONE] * 6
    last = run(name, cohorts, keep_percent=20.0, **hyper)[-1]
    updates = twin(name, cohorts, keep_percent=20.0, **hyper).updates
    for leaf, start in first_params().items():
        owed = np.mean([residual[leaf] for residual in residuals_of(last)], axis=0)
        total = sum(np.mean([update[leaf] for update in each.values()], axis=0) for each in updates)
        np.testing.assert_allclose(params_of(last)[leaf] + owed, start + total, rtol=0, atol=1e-12)


@pytest.mark.parametrize("without", [{"tau": 0.0}, {"first_steps": 0, "tau": 0.3}])
def test_without_its_pull_flare_is_error_correction_bit_for_bit(without):
    flare = run("flare", keep_percent=20.0, **without)[-1]
    other = run("error-correction", keep_percent=20.0)[-1]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(flare), jax.device_get(other))


def test_the_first_round_is_error_correction_whatever_tau_is():
    flare = run("flare", COHORTS[:1], keep_percent=20.0, tau=7.0, first_steps="all")[-1]
    other = run("error-correction", COHORTS[:1], keep_percent=20.0)[-1]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(flare), jax.device_get(other))


@pytest.mark.parametrize("name", ["error-correction", "ef21"])
def test_sending_everything_is_federated_averaging(name):
    cohorts = [EVERYONE] * 3
    everything = run(name, cohorts, keep_percent=100.0)[-1]
    toy.leaves_close(params_of(everything), params_of(run("fedavg", cohorts)[-1]), 1e-14)
    if name == "error-correction":
        assert not any(leaf.any() for residual in residuals_of(everything) for leaf in residual.values())


def test_with_one_local_step_the_proximal_term_is_nothing():
    near = run("fedprox-error-correction", epochs=1, keep_percent=20.0, mu=5.0)[-1]
    plain = run("error-correction", epochs=1, keep_percent=20.0)[-1]
    toy.leaves_close(params_of(near), params_of(plain), 1e-15)


def test_fedprox_without_its_term_is_fedavg():
    toy.leaves_close(params_of(run("fedprox", mu=0.0)[-1]), params_of(run("fedavg")[-1]), 1e-15)


def test_one_local_step_of_flare_in_closed_form():
    """D = -lr gradient + lr tau_t M sign(A)."""
    hyper = {"keep_percent": 20.0, "tau": 0.3, "decay": 1.1}
    cohorts = [EVERYONE] * 2
    _, before, after = run("flare", cohorts, epochs=1, **hyper)
    w = params_of(before)
    for i in range(N):
        _, gradient = loss_and_gradient(w, *data_of(i))
        for leaf, residual in residuals_of(before)[i].items():
            mask = larger_half(residual, 50)
            update = -LR * gradient[leaf] + LR * 0.3 / 1.1**2 * mask * np.sign(residual)
            owed = update + residual
            np.testing.assert_allclose(
                residuals_of(after)[i][leaf], owed - keep_largest(owed, 20.0, "exact"), atol=1e-14
            )


def test_ef21s_server_knows_the_mean_of_all_states():
    state = run("ef21", keep_percent=20.0)[-1]
    for leaf, mean in as_dict(state.server.notes).items():
        np.testing.assert_allclose(mean, np.mean([s[leaf] for s in residuals_of(state)], axis=0), atol=1e-15)


@pytest.mark.parametrize(("percent", "rounds"), [(34.0, 3), (20.0, 5), (100.0, 1)])
def test_ef21_reaches_a_constant_update_in_as_many_rounds_as_it_takes_to_send_it(percent, rounds):
    setting = toy.setting(cohort_size=N, batch_size=9)
    constant = as_tree(
        {leaf: np.arange(1.0, 1 + value.size).reshape(value.shape) for leaf, value in first_params().items()}
    )

    def train(gradient, variables, client, t, key, **options):
        moved = trees.add(variables.params, constant)
        return Trained(Variables(moved), jnp.zeros(()), jnp.int32(1), jnp.int32(1))

    algorithm = ef21(setting.federation._replace(train=train), EF21(keep_percent=percent))
    start = Variables(trees.zeros_like(constant))
    cohort = populations.gather(jax.tree.map(jnp.asarray, setting.population), *map(jnp.asarray, EVERYONE))
    one = algorithm.init_client(start, jax.random.key(0))
    state = State(
        algorithm.init(start, jax.random.key(0)), jax.tree.map(lambda leaf: jnp.stack([leaf] * N), one)
    )
    step = jax.jit(algorithm.round)
    reached = []
    for t in range(1, rounds + 1):
        state, _ = step(state, cohort, jnp.int32(t), jax.random.key(t))
        close = jax.tree.map(
            lambda known, goal: bool(jnp.allclose(known, goal[None], atol=1e-12)), state.client, constant
        )
        reached.append(close["Dense_0"]["kernel"])
    assert reached == [False] * (rounds - 1) + [True]


# Counts, masks and schedules.


@functools.cache
def sizes_of(name: str) -> tuple[int, ...]:
    model = models.build(name, (32, 32, 3) if "vgg" in name else (28, 28, 1), 10, dtype=jnp.float32)
    return tuple(trees.sizes(jax.eval_shape(model.init, jax.random.key(0)).params))


@pytest.mark.parametrize(
    ("model", "percent", "official"),
    [
        ("flare_fc", 0.1, 36_365),
        ("flare_fc", 0.01, 3_643),
        ("flare_fc", 0.001, 372),
        ("flare_fc", 0.0001, 45),
        ("flare_cnn", 0.1, 590),
        ("flare_cnn", 0.01, 66),
        ("flare_cnn", 0.001, 14),
        ("flare_cnn", 0.0001, 9),
        ("flare_vgg11", 0.1, 28_167),
        ("flare_vgg11", 0.01, 2_835),
        ("flare_vgg11", 0.001, 305),
        ("flare_vgg11", 0.0001, 49),
        ("flare_vgg16", 0.1, 33_671),
        ("flare_vgg16", 0.01, 3_395),
        ("flare_vgg16", 0.001, 370),
        ("flare_vgg16", 0.0001, 64),
        ("flare_vgg19", 0.1, 38_987),
        ("flare_vgg19", 0.01, 3_932),
        ("flare_vgg19", 0.001, 430),
        ("flare_vgg19", 0.0001, 75),
    ],
)
def test_published_numbers_of_entries_sent(model, percent, official):
    sizes = sizes_of(model)
    assert compression.flare_counts(sizes, percent).sum() == official
    exact = [max(1, round(size * percent / 100)) for size in sizes]
    np.testing.assert_array_equal(compression.exact_counts(sizes, percent), exact)


@pytest.mark.parametrize(
    ("percent", "official", "here"), [(0.1, 4054, 4055), (0.01, 412, 412), (0.001, 46, 47), (0.0001, 10, 11)]
)
def test_published_numbers_of_entries_that_the_gru_sends(percent, official, here):
    """The official GRU holds the biases of input and state as one tensor; ours are two, and each sends an entry."""
    model = models.build("gru", (100,), 86, dtype=jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0)).params
    assert compression.flare_counts(trees.sizes(params), percent).sum() == here
    both = params["input"]["bias"].size + params["recurrent"]["bias"].size
    kernels = [leaf.size for leaf in jax.tree.leaves(params) if len(leaf.shape) == 2]
    assert compression.flare_counts([*kernels, both, 86], percent).sum() == official


def test_the_fc_net_sends_so_many_of_each_tensor():
    # Biases come first in each layer.
    assert compression.flare_counts(sizes_of("flare_fc"), 0.001).tolist() == [1, 33, 1, 167, 1, 167, 1, 1]
    assert compression.exact_counts(sizes_of("flare_fc"), 0.001).tolist() == [1, 32, 1, 166, 1, 166, 1, 1]
    assert compression.exact_counts(sizes_of("flare_fc"), 0.0001).tolist() == [1, 3, 1, 17, 1, 17, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "sent"), [("exact", 17), ("plus-one", 18)])
def test_seventeen_of_sixteen_million_are_the_right_ones(rule, sent):
    """Neither counts nor positions lose a digit where float32 no longer knows all integers."""
    size = 4069 * 4069
    values = np.random.default_rng(0).permutation(size).astype(np.float64).reshape(4069, 4069)
    counts, keep = error_feedback.RULES[rule]
    ks = counts([size], 0.0001)
    kept, mask = jax.jit(lambda tree: keep(tree, ks, [True]))([jnp.asarray(values)])
    np.testing.assert_array_equal(np.asarray(mask[0]), values >= size - sent)
    np.testing.assert_array_equal(np.asarray(kept[0]), np.where(values >= size - sent, values, 0))


@pytest.mark.parametrize(
    ("residual", "percentile", "larger"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 50, [4, 5]),
        ([-5.0, 1.0, 3.0, -4.0, 2.0], 50, [-5, -4]),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 50, []),
        # Even sizes: the middle lies between two entries, and halves go to the even place of the ascending order.
        ([1.0, 2.0], 50, [2]),
        ([1.0, 2.0, 3.0, 4.0], 50, [4]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 50, [4, 5, 6]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 50, [6, 7, 8]),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0, [2, 3, 4, 5]),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 100, []),
        ([2.0, 2.0, 2.0, 2.0, 1.0], 50, []),
    ],
)
def test_the_larger_half_of_a_residual(residual, percentile, larger):
    values = jnp.asarray(residual)
    kept, _ = compression.above_next_per_leaf([values], _larger_counts([values.size], percentile), [True])
    assert [value for value in kept[0].tolist() if value] == larger
    assert np.asarray(kept[0] != 0).tolist() == larger_half(np.asarray(residual), percentile).tolist()


def test_the_larger_half_counts_as_tensorflow_probability_does():
    sizes = [1, 2, 4, 6, 8, 10, 160, 512, 4069]
    np.testing.assert_array_equal(_larger_counts(sizes, 50), [0, 1, 1, 3, 3, 5, 79, 255, 2034])


@pytest.mark.parametrize(
    ("tau", "decay", "values", "rtol"),
    [
        (0.5, 1.05, {1: 0.47619, 51: 0.041526, 101: 0.0036212}, 2e-5),
        (0.5, 1.05, {201: 2.75e-5}, 2e-3),
        (0.05, 1.1, {51: 3.9e-4, 101: 3.3e-6}, 2e-2),
        (0.05, 1.01, {51: 0.0301, 101: 0.0183, 201: 0.00677}, 2e-3),
    ],
)
def test_how_the_pull_fades(tau, decay, values, rtol):
    """Published values; there rounds count from 0."""
    at = error_feedback.decaying(tau, decay, 201)
    for t, value in values.items():
        np.testing.assert_allclose(at(jnp.int32(t)), value, rtol=rtol)


def test_a_pull_that_has_faded_away_is_zero_not_an_overflow():
    at = error_feedback.decaying(0.05, 1.1, 10_001)
    assert float(at(jnp.int32(10_001))) == 0.0


def test_ffl_sends_more_and_trains_less_as_the_loss_falls():
    made = runner("ffl", (("keep_percent", 10.0),))
    state, history = made.start, []
    for t in range(1, 9):
        state, metrics = made.round(state, *map(jnp.asarray, EVERYONE), jnp.int32(t))
        history.append(
            (float(state.server.notes.last), int(metrics.up.values[0]), int(metrics.work.steps[0]))
        )
    losses, sent, steps = zip(*history, strict=True)
    for t in range(1, 8):
        ratio = losses[t - 1] / losses[0]
        assert steps[t] == max(1, round(3 * ratio ** (1 / 3)))
        percent = 10 * ratio ** (-1 / 3)
        assert sent[t] == sum(max(1, round(v.size * percent / 100)) for v in first_params().values())
    assert losses[-1] < losses[0]
    assert sent[-1] > sent[0]
    assert steps[-1] < steps[0]


def test_ffl_may_follow_the_models_loss_on_the_test_set():
    made = runner("ffl", (("keep_percent", 10.0), ("loss", "test")))
    data, state, ratio = toy.dataset(), made.start, 1.0

    def test_loss(params):
        variables = jax.tree.map(np.asarray, params)
        hidden = np.maximum(data.x_test @ variables["Dense_0"]["kernel"] + variables["Dense_0"]["bias"], 0)
        logits = hidden @ variables["Dense_1"]["kernel"] + variables["Dense_1"]["bias"]
        chances = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), data.y_test]
        return chances.mean()

    first = test_loss(state.server.variables.params)
    for t in range(1, 5):
        state, metrics = made.round(state, *map(jnp.asarray, EVERYONE), jnp.int32(t))
        percent = 10 * ratio ** (-1 / 3)
        assert int(metrics.up.values[0]) == sum(
            max(1, round(v.size * percent / 100)) for v in first_params().values()
        )
        assert int(metrics.work.steps[0]) == max(1, round(3 * ratio ** (1 / 3)))
        notes = state.server.notes
        np.testing.assert_allclose(notes.first, first, rtol=1e-12)
        np.testing.assert_allclose(notes.last, test_loss(state.server.variables.params), rtol=1e-12)
        ratio = float(notes.last / first)
    assert ratio < 1


def test_ffl_survives_a_loss_that_is_not_finite():
    setting = toy.setting(cohort_size=N, batch_size=9)
    algorithm = ffl(setting.federation, FFL())
    cohort = populations.gather(jax.tree.map(jnp.asarray, setting.population), *map(jnp.asarray, EVERYONE))
    start = Variables(as_tree(first_params()))
    server = algorithm.init(start, jax.random.key(0))._replace(
        notes=Losses(jnp.ones(()), jnp.asarray(jnp.nan))
    )
    one = algorithm.init_client(start, jax.random.key(0))
    clients = jax.tree.map(lambda leaf: jnp.stack([leaf] * N), one)
    _, metrics = jax.jit(algorithm.round)(State(server, clients), cohort, jnp.int32(1), jax.random.key(0))
    assert int(metrics.work.steps[0]) == round(2 * 1e4 ** (1 / 3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"keep_percent": 0.0}, r"--keep-percent = 0.0 is out of range; allowed: \(0, 100\]"),
        ({"keep_percent": 101.0}, "--keep-percent = 101.0 is out of range"),
        ({"tau": -0.1}, "--tau = -0.1 is out of range"),
        ({"decay": 0.9}, "--decay = 0.9 is out of range"),
        ({"percentile": 101.0}, "--percentile = 101.0 is out of range"),
        ({"first_steps": -1}, "--first-steps = -1 is out of range"),
        ({"first_steps": "some"}, "--first-steps = 'some' is not valid; allowed: int | all"),
        ({"norm": "l3"}, "unknown --norm 'l3'"),
    ],
)
def test_bad_hyperparameters_are_refused(values, message):
    with pytest.raises(UsageError, match=message):
        Flare(**values)


@pytest.mark.slow
def test_steering_beats_even_dense_averaging_on_a_smooth_problem():
    """Labels of a linear teacher: with 3 of 210 entries a round FLARE's loss is lowest: its pull enlarges steps."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1100, 20))
    y = np.argmax(x @ rng.normal(size=(20, 10)) + rng.gumbel(0, 0.5, (1100, 10)), axis=1).astype(np.int32)
    data = Dataset("teacher", x[:1000], y[:1000], x[1000:], y[1000:], "classification", 10)
    population = populations.build(x[:1000], y[:1000], np.split(np.arange(1000), 10))
    model = models.build("softmax", (20,), 10, dtype=jnp.float64)
    cohorts = Cohorts(cohort_size=10, weighting="uniform")
    training = Training(rounds=200, local_epochs=1, batch_size=100, client_lr=0.2)
    setting = make_setting(data, model, population, cohorts=cohorts, training=training)
    losses = {}
    for name, own in (("flare", {"tau": 0.3, "decay": 1.02}), ("ef21", {}), ("error-correction", {})):
        algorithm = toy.algorithm(name, setting, keep_percent=1.0, **own)
        ((*_, last),) = driver.simulate(algorithm, setting, eval_every=200).rows
        assert last["uplink_bytes"] == 200 * 10 * 3 * (8 + 4)
        losses[name] = last["train_loss"]
    ((*_, dense),) = driver.simulate(toy.algorithm("fedavg", setting), setting, eval_every=200).rows
    assert losses["flare"] < 0.8 * min(losses["ef21"], losses["error-correction"], dense["train_loss"])
