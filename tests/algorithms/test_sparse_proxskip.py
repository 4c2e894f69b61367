"""The Scaffnew family on problems with known minimisers: logistic regression on clients that differ."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.algorithms import sparse_proxskip as family
from fedjax_sparse.algorithms.sparse_proxskip import Switches, soft_threshold
from fedjax_sparse.config import registry
from fedjax_sparse.config.cards.sparse_proxskip import Scaffnew, TopK
from fedjax_sparse.config.sections import Cohorts, Machine, Training
from fedjax_sparse.data import datasets, synthetic
from fedjax_sparse.data import population as populations
from fedjax_sparse.errors import UsageError
from fedjax_sparse.models import model as models
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.setting import Setting, make_setting
from fedjax_sparse.types import Algorithm, Federation, Message, Metrics, State, Variables, Work
from tests import toy
from tests.algorithms import proxskip_twin as twin

CLIENTS, FEATURES, KEPT, L1 = 10, 30, 8, 0.0476
SPARSITY = 1 - KEPT / FEATURES
MOST_ROUNDS = 1300
AMONG = {"w": True}
NO_CONTROL = Switches(AMONG, control=False)


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Problem(NamedTuple):
    """Mean logistic losses of the clients with an l2 term, no intercept.

    Attributes:
        x: f[n, m, d].
        sign: f[n, m], labels as -1 or 1.
        l2: Its strength, the smallest curvature.
        gamma: 1 / the largest curvature.
        p: 1 / sqrt(condition number).
    """

    x: np.ndarray
    sign: np.ndarray
    l2: float
    gamma: float
    p: float

    def gradient(self, i: int, w: np.ndarray) -> np.ndarray:
        wrong = 1 / (1 + np.exp(self.sign[i] * (self.x[i] @ w)))
        return -self.x[i].T @ (self.sign[i] * wrong) / len(self.x[i]) + self.l2 * w

    def gradients(self, w: np.ndarray) -> np.ndarray:
        return np.stack([self.gradient(i, w) for i in range(len(self.x))])

    def objective(self, w: np.ndarray) -> float:
        margins = self.sign * np.einsum("nmd,d->nm", self.x, w)
        return float(np.logaddexp(0, -margins).mean() + self.l2 / 2 * w @ w)


@functools.cache
def make_problem() -> Problem:
    data = synthetic.load("synthetic/logistic")
    assert data.client_train is not None
    curvature = float(synthetic.smoothness(data.x_train, data.client_train))
    l2 = curvature / 1000
    x = data.x_train.reshape(CLIENTS, -1, FEATURES)
    sign = 2.0 * data.y_train.reshape(CLIENTS, -1) - 1
    return Problem(x, sign, l2, 1 / (curvature + l2), 1001**-0.5)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem()


@pytest.fixture(scope="module")
def minimiser(problem) -> np.ndarray:
    data = synthetic.load("synthetic/logistic")
    return synthetic.logistic_regression(data.x_train, data.y_train, l2=problem.l2)


@functools.cache
def make_problem_setting(clients: int = CLIENTS) -> Setting:
    """The first clients of the problem, full batches, all at once, uniform weights; the parameters are one vector."""
    problem = make_problem()
    data = synthetic.load("synthetic/logistic")
    rows = np.split(np.arange(clients * 50), clients)
    population = populations.build(data.x_train, data.y_train, rows)
    model = models.build("logistic", (FEATURES,), 2, dtype=jnp.float64)
    setting = make_setting(
        data,
        model,
        population,
        cohorts=Cohorts(cohort_size=clients, weighting="uniform"),
        training=Training(rounds=MOST_ROUNDS, local_epochs=1, batch_size=50, client_lr=problem.gamma),
        machine=Machine(chunk=clients),
    )

    def loss(variables, batch):
        w = variables.params["w"]
        margins = (2 * batch.y - 1) * (batch.x @ w)
        return jnp.mean(jax.nn.softplus(-margins)) + problem.l2 / 2 * w @ w, ()

    params = {"w": jax.ShapeDtypeStruct((FEATURES,), jnp.float64)}
    federation = setting.federation._replace(loss=loss, params=params, kinds={"w": "kernel"})
    return setting._replace(federation=federation)


Build = Callable[[Federation, family.LocalSteps], Algorithm]


class Outcome(NamedTuple):
    """The server's model f[d], the control variates f[n, d] and the last round's metrics."""

    server: np.ndarray
    h: np.ndarray
    metrics: Metrics


class Engine:
    """A member of the family on the problem; a replay of given local steps, one entry for each round."""

    def __init__(self, build: Build, clients: int = CLIENTS):
        setting = make_problem_setting(clients)
        self.setting, self.build = setting, build
        self.population = jax.tree.map(jnp.asarray, setting.population)
        self._replay = jax.jit(self._rounds)

    def run(self, steps, start: np.ndarray, h: np.ndarray | None = None) -> Outcome:
        table = np.zeros(MOST_ROUNDS + 1, np.int32)
        table[1 : len(steps) + 1] = steps
        clients = self.setting.sampler.capacity
        h = np.zeros((clients, FEATURES)) if h is None else h
        state, metrics = self._replay(table, len(steps), jnp.asarray(start), jnp.asarray(h))
        client = np.asarray(state.client["w"]) if state.client else np.zeros_like(h)
        return Outcome(np.asarray(state.server.params["w"]), client, jax.device_get(metrics))

    def _rounds(self, table, rounds, start, h):
        algorithm = self.build(self.setting.federation, lambda t, key: table[t])
        control = bool(jax.tree.leaves(jax.eval_shape(algorithm.init_client, Variables({"w": start}), None)))
        everyone = jnp.arange(h.shape[0], dtype=jnp.int32)
        cohort = populations.gather(self.population, everyone, jnp.ones_like(everyone, bool))
        state = State(Variables({"w": start}), {"w": h} if control else ())

        def one(t, carry):
            return algorithm.round(carry[0], cohort, t, jax.random.fold_in(jax.random.key(1), t))

        counts = jnp.zeros_like(everyone)
        message, leaves = Message(*[counts] * 6), counts[:, None]
        log = {"control_mean": jnp.zeros(())} if control else {}
        metrics = Metrics(message, message, Work(counts, counts, *[leaves] * 3), jnp.zeros(h.shape[0]), log)
        return jax.lax.fori_loop(1, rounds + 1, one, (state, metrics))


def gaps(coins: np.ndarray) -> np.ndarray:
    """Local steps of each round: those up to and including a coin that shows; the last round ends with the coins."""
    shown = np.flatnonzero(coins) + 1
    ends = shown if len(shown) and shown[-1] == len(coins) else np.append(shown, len(coins))
    return np.diff(ends, prepend=0)


def sum_of(h: np.ndarray) -> float:
    return float(np.abs(h.sum(axis=0)).max())


# The members, as the twin and as the registry have them.

TOP, SOFT = twin.top_k(KEPT), "soft"
MEMBERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "scaffnew": ("scaffnew", {}, {}),
    "server-naive": ("sparse-proxskip-server-naive", {}, {"server": TOP, "reference": "model"}),
    "server-modified": ("sparse-proxskip-server-modified", {}, {"server": TOP}),
    "v1": ("sparse-proxskip", {}, {"upload": TOP}),
    "v2": ("sparse-proxskip", {"variant": "v2"}, {"ste": TOP, "upload": TOP}),
    "local v1": ("sparse-proxskip-local", {}, {"local": TOP}),
    "local v2": ("sparse-proxskip-local", {"variant": "v2"}, {"ste": TOP, "local": TOP}),
    "randprox-l1": ("randprox-l1", {}, {"local": SOFT}),
    "proxskip-l1": ("proxskip-l1", {}, {"server": SOFT, "reference": "model", "shift": True}),
    "fedcomloc-com": ("fedcomloc-com", {}, {"upload": TOP}),
    "fedcomloc-local": ("fedcomloc-local", {}, {"ste": TOP}),
    "fedcomloc-global": ("fedcomloc-global", {}, {"server": TOP, "reference": "model"}),
    "fedavg-client-topk": ("fedavg-client-topk", {}, {"upload": TOP, "control": False}),
    "fedavg-server-topk": ("fedavg-server-topk", {}, {"server": TOP, "control": False}),
}
EXACT = [name for name in MEMBERS if name not in ("server-naive", "proxskip-l1", "fedcomloc-global")]


@functools.cache
def engine(name: str, sparsity: float = SPARSITY, l1: float = L1, clients: int = CLIENTS) -> Engine:
    return Engine(build_member(name, make_problem().p, sparsity, l1), clients)


def build_member(name: str, probability: float, sparsity: float = SPARSITY, l1: float = L1) -> Build:
    registered, own, _ = MEMBERS[name]
    entry = registry.entry(registered)
    known = {"probability": probability, "sparsity": sparsity, "l1": l1} | own
    fields = entry.hyperparameters.__dataclass_fields__
    hyper = entry.hyperparameters(**{key: value for key, value in known.items() if key in fields})
    if "probability" not in fields:  # its local steps are those of the run
        return lambda federation, steps: registry.load(entry)(federation, hyper)
    return lambda federation, steps: registry.load(entry)(federation, hyper, steps)


def twin_switches(name: str, gamma: float, p: float) -> dict[str, Any]:
    thresholds = {"local": gamma * L1, "server": gamma * L1 / p}
    switches = MEMBERS[name][2]
    return {key: twin.soft(thresholds[key]) if value is SOFT else value for key, value in switches.items()}


@pytest.mark.parametrize("name", MEMBERS)
def test_three_rounds_agree_with_the_twin(name, problem):
    start = np.random.default_rng(3).normal(size=FEATURES)
    control = MEMBERS[name][2].get("control", True)
    steps = [4, 1, 7] if control else [1, 1, 1]
    outcome = engine(name).run(steps, start)
    coins = np.zeros(sum(steps), bool)
    coins[np.cumsum(steps) - 1] = True
    expected = twin.scaffnew(
        problem.gradient,
        start,
        coins,
        clients=CLIENTS,
        gamma=problem.gamma,
        p=problem.p,
        **twin_switches(name, problem.gamma, problem.p),
    )
    np.testing.assert_allclose(outcome.server, expected.server, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(outcome.h, expected.h, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(outcome.server != 0, expected.server != 0)
    np.testing.assert_array_equal(outcome.metrics.work.steps, steps[-1])
    np.testing.assert_array_equal(outcome.metrics.up.values, np.count_nonzero(expected.sent, axis=1))
    if control:
        drift = np.linalg.norm(expected.h.mean(axis=0))
        np.testing.assert_allclose(outcome.metrics.log["control_mean"], drift, atol=1e-13)


# Scaffnew.


def coins_of(problem: Problem, count: int) -> np.ndarray:
    return np.random.default_rng(1).random(count) < problem.p


@pytest.mark.parametrize(
    ("steps", "communications", "distance"), [(1000, 25, 6.8e-3), (3000, 91, 9.0e-6), (5000, 147, 5.0e-8)]
)
def test_scaffnew_reaches_published_distances(problem, minimiser, steps, communications, distance):
    """The mean model after so many steps: a round cut short averages as it ends."""
    coins = coins_of(problem, steps)
    assert coins.sum() == communications
    outcome = engine("scaffnew").run(gaps(coins), np.zeros(FEATURES))
    assert np.linalg.norm(outcome.server - minimiser) == pytest.approx(distance, rel=0.015)
    assert sum_of(outcome.h) < 1e-12


def test_scaffnew_is_exact(problem, minimiser):
    coins = coins_of(problem, 10_000)
    assert coins.sum() == 304
    exact = engine("scaffnew").run(gaps(coins), np.zeros(FEATURES))
    assert np.linalg.norm(exact.server - minimiser) < 1e-11
    np.testing.assert_allclose(exact.h, problem.gradients(minimiser), atol=1e-11)
    assert sum_of(exact.h) < 1e-12


@pytest.mark.parametrize(
    ("steps", "distance"),
    [(1000, 0.7899), (3000, 0.5580), (10_000, 0.5673), pytest.param(40_000, 0.7895, marks=pytest.mark.slow)],
)
def test_local_gradient_descent_stalls(problem, minimiser, steps, distance):
    """With the same coin and no control variates: between 0.52 and 0.86 off, by the steps since the last mean."""
    stalled = federated_averaging().run(gaps(coins_of(problem, steps)), np.zeros(FEATURES))
    assert np.linalg.norm(stalled.server - minimiser) == pytest.approx(distance, abs=1e-4)


@pytest.mark.slow
def test_scaffnew_ends_at_the_precision_of_float64(problem, minimiser):
    outcome = engine("scaffnew").run(gaps(coins_of(problem, 40_000)), np.zeros(FEATURES))
    assert np.linalg.norm(outcome.server - minimiser) < 1e-13
    np.testing.assert_allclose(outcome.h, problem.gradients(minimiser), rtol=0, atol=1e-13)
    assert sum_of(outcome.h) < 1e-13


def test_the_lyapunov_function_stays_below_its_bound(problem, minimiser):
    """Psi_t <= (1 - min(gamma mu, p^2))^t Psi_0, on the average path and on this one."""
    optimal = problem.gradients(minimiser)

    def psi(x: np.ndarray, h: np.ndarray) -> float:
        return float(
            np.sum((x - minimiser) ** 2) + (problem.gamma / problem.p) ** 2 * np.sum((h - optimal) ** 2)
        )

    start = psi(np.zeros((CLIENTS, FEATURES)), np.zeros((CLIENTS, FEATURES)))
    rate = 1 - min(problem.gamma * problem.l2, problem.p**2)
    coins = coins_of(problem, 5000)
    shown = np.flatnonzero(coins) + 1
    for rounds in (20, 80, 140):
        steps = int(shown[rounds - 1])
        outcome = engine("scaffnew").run(gaps(coins[:steps]), np.zeros(FEATURES))
        assert psi(np.tile(outcome.server, (CLIENTS, 1)), outcome.h) < rate**steps * start


def test_the_optimum_is_a_fixed_point(problem, minimiser):
    optimal = problem.gradients(minimiser)
    outcome = engine("scaffnew").run([5, 1, 30], minimiser, optimal)
    np.testing.assert_allclose(outcome.server, minimiser, atol=1e-13)
    np.testing.assert_allclose(outcome.h, optimal, atol=1e-13)


def test_communicating_always_is_gradient_descent(problem):
    start = np.ones(FEATURES)
    outcome = Engine(build_member("scaffnew", 1.0)).run([1] * 20, start)
    for _ in range(20):
        start = start - problem.gamma * problem.gradients(start).mean(axis=0)
    np.testing.assert_allclose(outcome.server, start, atol=1e-13)


# A convex penalty: prune at the clients, or at the server with the shift.


@pytest.fixture(scope="module")
def l1_minimiser(problem) -> np.ndarray:
    """Of mean_i f_i(x) + L1 |x|_1: proximal gradient steps, then Newton's on the support, where signs are settled."""
    w = np.zeros(FEATURES)
    for _ in range(4000):
        w = twin.soft(problem.gamma * L1)(w - problem.gamma * problem.gradients(w).mean(axis=0))
    support, signs = w != 0, np.sign(w)
    rows = problem.x.reshape(-1, FEATURES)[:, support]
    for _ in range(5):
        wrong = 1 / (1 + np.exp(problem.sign.ravel() * (rows @ w[support])))
        hessian = (rows.T * (wrong * (1 - wrong))) @ rows / len(rows) + problem.l2 * np.eye(support.sum())
        gradient = problem.gradients(w).mean(axis=0) + L1 * signs
        w[support] -= np.linalg.solve(hessian, gradient[support])
    assert (np.sign(w) == signs).all()
    assert (np.abs(problem.gradients(w).mean(axis=0)[~support]) < L1).all()
    return w


def l1_outcomes(problem: Problem, steps: int) -> dict[str, Outcome]:
    """Four places for the soft threshold, after the last communication in so many steps."""
    at_server = soft_threshold(L1 / problem.p, AMONG)

    def server(reference: Literal["mean", "model"]) -> Engine:
        switches = Switches(AMONG, server=at_server, reference=reference)
        return Engine(lambda federation, steps: family.proxskip(federation, switches, problem.p, steps))

    engines = {
        "clients": engine("randprox-l1"),
        "server, shifted": engine("proxskip-l1"),
        "server, naive": server("model"),
        "server, modified": server("mean"),
    }
    coins = coins_of(problem, steps)
    rounds = gaps(coins[: np.flatnonzero(coins)[-1] + 1])
    return {name: each.run(rounds, np.zeros(FEATURES)) for name, each in engines.items()}


def test_two_of_four_ways_to_threshold_approach_the_minimiser(problem, l1_minimiser):
    assert np.count_nonzero(l1_minimiser) == 11
    outcomes = l1_outcomes(problem, 2000)
    distance = {name: np.linalg.norm(each.server - l1_minimiser) for name, each in outcomes.items()}
    assert distance["clients"] < 7e-3
    assert distance["server, shifted"] < 3e-3
    assert distance["server, naive"] > 0.9
    assert distance["server, modified"] > 0.2
    assert sum_of(outcomes["clients"].h) < 1e-12
    assert sum_of(outcomes["server, modified"].h) < 1e-12
    assert sum_of(outcomes["server, shifted"].h) == pytest.approx(CLIENTS * L1)  # n times a subgradient
    assert sum_of(outcomes["server, naive"].h) > 4


@pytest.mark.slow
def test_only_two_of_four_ways_to_threshold_are_exact(problem, l1_minimiser):
    outcomes = l1_outcomes(problem, 40_000)
    distance = {name: np.linalg.norm(each.server - l1_minimiser) for name, each in outcomes.items()}
    assert distance["clients"] < 1e-13
    assert distance["server, shifted"] < 1e-13
    assert distance["server, naive"] == pytest.approx(0.9425, abs=1e-4)
    assert not outcomes["server, naive"].server.any()
    assert distance["server, modified"] == pytest.approx(0.37, abs=0.005)
    assert np.count_nonzero(outcomes["server, modified"].server) == 5
    assert sum_of(outcomes["clients"].h) < 1e-12
    assert sum_of(outcomes["server, shifted"].h) == pytest.approx(CLIENTS * L1)


# Top-K: what holds, whichever loss is lower.


def run_fixed(name: str, rounds: int) -> Outcome:
    """Rounds of 32 steps, which is 1 / p, from a random model."""
    return engine(name).run([32] * rounds, np.random.default_rng(0).normal(size=FEATURES))


@pytest.mark.parametrize("name", [name for name in EXACT if not name.startswith("fedavg")])
def test_control_variates_sum_to_zero(name):
    outcome = run_fixed(name, rounds=30)
    assert np.abs(outcome.h).max() > 0.01
    assert sum_of(outcome.h) < 1e-12


def test_control_variates_of_naive_pruning_drift():
    assert sum_of(run_fixed("server-naive", rounds=30).h) > 1e-2


def test_any_sparse_model_is_a_fixed_point_of_naive_pruning(problem):
    sparse = TOP(np.random.default_rng(5).normal(size=FEATURES))
    h = problem.gradients(sparse)
    assert np.abs(h.mean(axis=0)).max() > 0.1  # by no means a minimiser
    naive = engine("server-naive").run([32] * 62, sparse, h)
    np.testing.assert_allclose(naive.server, sparse, atol=1e-13)
    modified = engine("server-modified").run([32] * 62, sparse, h - h.mean(axis=0))
    assert np.linalg.norm(modified.server - sparse) > 0.5
    assert problem.objective(modified.server) < problem.objective(sparse)


def test_pruning_every_step_ends_in_consensus_on_a_support(problem):
    outcome = run_fixed("local v1", rounds=400)
    support = outcome.server != 0
    assert np.count_nonzero(support) == KEPT
    gradients = problem.gradients(outcome.server)
    np.testing.assert_allclose(gradients.mean(axis=0)[support], 0, atol=1e-10)
    np.testing.assert_allclose(outcome.h[:, support], gradients[:, support], atol=1e-9)
    np.testing.assert_array_equal(outcome.metrics.up.located, KEPT)
    assert outcome.metrics.down.located[0] == KEPT  # all clients agree
    # To refit the survivors changes nothing: a step of Newton's method stays where it is.
    rows = problem.x.reshape(-1, FEATURES)
    wrong = 1 / (1 + np.exp(problem.sign.ravel() * (rows @ outcome.server)))
    hessian = (rows.T * (wrong * (1 - wrong))) @ rows / len(rows) + problem.l2 * np.eye(FEATURES)
    move = np.linalg.solve(hessian[np.ix_(support, support)], gradients.mean(axis=0)[support])
    np.testing.assert_allclose(move, 0, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "scaffnew"])
def test_without_pruning_every_member_is_its_dense_parent(name):
    """Sparsity 0, bit for bit, whether gradients are taken at the "pruned" model or not; a penalty of 0."""
    start = np.random.default_rng(0).normal(size=FEATURES)
    control = MEMBERS[name][2].get("control", True)
    steps = [7, 3, 5] if control else [1, 1, 1]
    outcome = engine(name, sparsity=0.0, l1=0.0).run(steps, start)
    expected = (engine("scaffnew") if control else federated_averaging()).run(steps, start)
    tolerance = 1e-13 if "l1" in name else 0.0  # their gradients are the same sums in another order
    np.testing.assert_allclose(outcome.server, expected.server, rtol=0, atol=tolerance)
    np.testing.assert_allclose(outcome.h, expected.h, rtol=0, atol=tolerance)


@functools.cache
def federated_averaging() -> Engine:
    return Engine(lambda federation, steps: family.proxskip(federation, NO_CONTROL, 1.0, steps))


@pytest.mark.parametrize("name", ["scaffnew", "randprox-l1", "v1", "local v1"])
def test_a_single_client_descends_as_if_alone(name, problem):
    """Plain, proximal or projected gradient descent; v1 projects only what is sent."""
    start = np.ones(FEATURES)
    outcome = engine(name, clients=1).run([7, 3], start)
    prox = {"randprox-l1": twin.soft(problem.gamma * L1), "local v1": TOP}.get(name, twin.same)
    for step in range(1, 11):
        start = prox(start - problem.gamma * problem.gradient(0, start))
        if name == "v1" and step in (7, 10):
            start = TOP(start)
    np.testing.assert_allclose(outcome.server, start, atol=1e-13)
    np.testing.assert_array_equal(outcome.h, 0)


def test_absent_clients_leave_the_sum_at_zero_but_not_that_of_a_cohort():
    """Weights by examples: it is the weighted sum that stays zero."""
    setting = toy.setting()
    algorithm = toy.algorithm("sparse-proxskip", setting)
    population = jax.tree.map(jnp.asarray, setting.population)
    one_round = jax.jit(algorithm.round)
    server = setting.model.init(jax.random.key(0))
    h = jax.tree.map(lambda leaf: jnp.zeros((7, *leaf.shape)), server.params)
    drift = []
    for t, ids in enumerate(([0, 1, 2, 3], [2, 3, 4, 5], [0, 6, 3, 1]), start=1):
        ids = jnp.asarray(ids)
        cohort = populations.gather(population, ids, jnp.arange(4) < 3)
        state = State(server, jax.tree.map(lambda leaf, ids=ids: leaf[ids], h))
        (server, new), metrics = one_round(state, cohort, jnp.int32(t), jax.random.key(t))
        h = jax.tree.map(lambda leaf, rows, ids=ids: leaf.at[ids].set(rows), h, new)
        drift.append(float(metrics.log["control_mean"]))
    sums = [np.tensordot(toy.SIZES, leaf, 1) for leaf in jax.tree.leaves(h)]
    assert max(np.abs(leaf).max() for leaf in sums) < 1e-12
    assert drift[0] < 1e-12 < 0.01 < drift[-1]


def test_fedcomloc_com_is_sparse_proxskip():
    com, v1 = (run_fixed(name, rounds=5) for name in ("fedcomloc-com", "v1"))
    np.testing.assert_array_equal(com.server, v1.server)
    np.testing.assert_array_equal(com.h, v1.h)


# Coins, warnings and errors.


def drawn_steps(probability: float, coin: Literal["bernoulli", "fixed"], rounds: int) -> np.ndarray:
    steps = family.steps_by_coin(Scaffnew(probability=probability, coin=coin))
    keys = jax.random.split(jax.random.key(2), rounds)
    return np.asarray(jax.vmap(lambda key: steps(jnp.int32(1), key))(keys))


def test_coins_show_with_their_probability():
    thrown = drawn_steps(0.1, "bernoulli", 4000)
    assert thrown.min() == 1
    assert thrown.sum() * 0.1 == pytest.approx(4000, rel=0.05)  # communications are a tenth of the steps
    assert (thrown == 1).mean() == pytest.approx(0.1, abs=0.02)
    np.testing.assert_array_equal(drawn_steps(0.1, "fixed", 3), 10)
    np.testing.assert_array_equal(drawn_steps(1.0, "bernoulli", 50), 1)


def test_all_clients_see_the_same_coin_and_each_round_its_own():
    setting = toy.setting(cohort_size=7)
    algorithm = toy.algorithm("scaffnew", setting)
    population = jax.tree.map(jnp.asarray, setting.population)
    cohort = populations.gather(population, jnp.arange(7), jnp.arange(7) < 6)
    server = setting.model.init(jax.random.key(0))
    h = jax.tree.map(lambda leaf: jnp.zeros((7, *leaf.shape)), server.params)
    steps = jax.jit(lambda key: algorithm.round(State(server, h), cohort, jnp.int32(1), key)[1].work.steps)
    rounds = np.asarray([steps(jax.random.key(seed)) for seed in range(6)])
    assert (rounds[:, :6] == rounds[:, :1]).all()
    assert (rounds[:, 6] == 0).all()  # dropped out
    assert len(set(rounds[:, 0])) > 1


def test_partial_participation_is_warned_about_and_full_is_not():
    hyper = Scaffnew()
    with pytest.warns(UserWarning, match="--cohort-size = 4 of 7 clients"):
        family.scaffnew(toy.setting().federation, hyper)
    family.scaffnew(toy.setting(cohort_size=7).federation, hyper)
    family.fedavg_client_topk(toy.setting().federation, TopK())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"probability": 0.0}, r"--probability = 0.0 is out of range; allowed: \(0, 1\]"),
        ({"probability": 1.5}, r"--probability = 1.5 is out of range; allowed: \(0, 1\]"),
        ({"sparsity": 1.0}, r"--sparsity = 1.0 is out of range; allowed: \[0, 1\)"),
        (
            {"sparsity": 0.999},
            "--sparsity = 0.999 keeps none of the 35 prunable weights; allowed: at most 0.971429",
        ),
        (
            {"sparsity": 0.97, "layerwise": True},
            "--sparsity = 0.97 keeps none of the 15 prunable weights of a layer; allowed: at most 0.933333",
        ),
        ({"variant": "v3"}, "unknown --variant 'v3'"),
    ],
)
def test_bad_values_are_refused_before_anything_compiles(values, message):
    with pytest.raises(UsageError, match=message):
        toy.algorithm("sparse-proxskip", toy.setting(cohort_size=7), **values)


# Networks.


@pytest.mark.parametrize(("scope", "prunable"), [("kernels", 35), ("all", 43)])
def test_what_is_not_prunable_travels_dense(scope, prunable):
    setting = toy.setting(cohort_size=7)
    algorithm = toy.algorithm("sparse-proxskip", setting, sparsity=0.8, scope=scope)
    population = jax.tree.map(jnp.asarray, setting.population)
    cohort = populations.gather(population, jnp.arange(7), jnp.ones(7, bool))
    server = setting.model.init(jax.random.key(0))
    h = jax.tree.map(lambda leaf: jnp.zeros((7, *leaf.shape)), server.params)
    state, metrics = jax.jit(algorithm.round)(State(server, h), cohort, jnp.int32(1), jax.random.key(0))
    kept = round(0.2 * prunable)
    assert set(np.asarray(metrics.up.located)) == {kept}
    assert set(np.asarray(metrics.up.values)) == {kept + 43 - prunable}
    assert set(np.asarray(metrics.up.universe)) == {prunable}
    # The kernels of a fresh model are all alive, which needs no positions; among all its scalars the biases are zero.
    assert set(np.asarray(metrics.down.located)) == {35 if scope == "all" else 0}
    deployed = algorithm.model(state.server, ())
    assert algorithm.server_model is not None
    own = algorithm.server_model(state.server)
    chosen = [leaf for leaf in jax.tree.leaves(deployed.params) if scope == "all" or leaf.ndim == 2]
    assert sum(int(jnp.count_nonzero(leaf)) for leaf in chosen) == kept
    assert sum(int(jnp.count_nonzero(leaf)) for leaf in jax.tree.leaves(own.params)) > kept


@pytest.mark.parametrize("name", ["sparse-proxskip-local", "fedavg-server-topk"])
def test_layerwise_every_leaf_keeps_its_own_share(name):
    """Even where one ranking would empty a layer; under it, that layer is empty."""
    setting = toy.setting(cohort_size=7, client_lr=1e-3)
    cohort = populations.gather(
        jax.tree.map(jnp.asarray, setting.population), jnp.arange(7), jnp.ones(7, bool)
    )
    server = setting.model.init(jax.random.key(0))
    small = {"kernel": server.params["Dense_0"]["kernel"] * 1e-3, "bias": server.params["Dense_0"]["bias"]}
    server = server._replace(params={**server.params, "Dense_0": small})
    alive = {}
    for layerwise in (True, False):
        algorithm = toy.algorithm(name, setting, sparsity=0.8, layerwise=layerwise)
        h = jax.vmap(algorithm.init_client, (None, 0))(server, jax.random.split(jax.random.key(0), 7))
        state, _ = jax.jit(algorithm.round)(State(server, h), cohort, jnp.int32(1), jax.random.key(0))
        kernels = [
            leaf for leaf in jax.tree.leaves(algorithm.model(state.server, ()).params) if leaf.ndim == 2
        ]
        alive[layerwise] = [int(jnp.count_nonzero(leaf)) for leaf in kernels]
        assert algorithm.declared[0].kept is not None
        assert algorithm.declared[0].kept(1) == 7
    assert alive == {True: [4, 3], False: [0, 7]}


def test_fedavg_with_everything_kept_is_fedavg():
    setting = toy.setting()
    population = jax.tree.map(jnp.asarray, setting.population)
    cohort = populations.gather(population, jnp.asarray([5, 0, 3, 1]), jnp.asarray([True, True, False, True]))
    server = setting.model.init(jax.random.key(0))
    fedavg = toy.algorithm("fedavg", setting)
    key = jax.random.key(4)
    expected, _ = jax.jit(fedavg.round)(State(fedavg.init(server, key), ()), cohort, jnp.int32(1), key)
    for name in ("fedavg-client-topk", "fedavg-server-topk"):
        algorithm = toy.algorithm(name, setting, sparsity=0.0, scope="all")
        state, _ = jax.jit(algorithm.round)(State(server, ()), cohort, jnp.int32(1), key)
        toy.leaves_close(state.server.params, expected.server.variables.params)


# Real data.


@pytest.mark.data
@pytest.mark.parametrize("name", ["a9a", "w8a"])
def test_scaffnew_converges_linearly_on_real_data(name, data_dir):
    """Twenty clients, rows sorted by label, condition number 101: ten steps a round win a digit every few rounds."""
    full = datasets.load(name, data_dir=data_dir)
    rows = np.argsort(full.y_train[:2000], kind="stable")
    x, y = full.x_train[rows], full.y_train[rows]
    owner = np.repeat(np.arange(20), 100)
    # A column of ones is the model's intercept; weight decay covers it like the rest.
    with_ones = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    curvature = float(synthetic.smoothness(with_ones, owner))
    l2 = curvature / 100
    minimiser = synthetic.logistic_regression(with_ones, y, l2=l2)
    data = dataclasses.replace(full, x_train=x, y_train=y, client_train=None)
    setting = make_setting(
        data,
        models.build("logistic", x.shape[1:], 2, dtype=jnp.float64),
        populations.build(x, y, np.split(np.arange(2000), 20)),
        cohorts=Cohorts(cohort_size=20, weighting="uniform"),
        training=Training(
            rounds=150,
            local_epochs=1,
            batch_size=100,
            client_lr=float(1 / (curvature + l2)),
            weight_decay=float(l2),
        ),
        machine=Machine(chunk=20),
    )
    algorithm = family.scaffnew(setting.federation, Scaffnew(probability=0.1, coin="fixed"))
    logs = []
    for progress in driver.run(algorithm, setting, [0], evaluate_at=driver.every(50)):
        params = jax.tree.map(lambda leaf: np.asarray(leaf[0]).ravel(), progress.state.server.params)
        found = np.concatenate(sorted(jax.tree.leaves(params), key=len, reverse=True))  # the intercept last
        logs.append((progress.round, np.linalg.norm(found - minimiser) / np.linalg.norm(minimiser)))
    distance = dict(logs)
    assert distance[100] < 1e-2 * distance[50]
    assert distance[150] < 1e-2 * distance[100]
    assert distance[150] < 1e-6
