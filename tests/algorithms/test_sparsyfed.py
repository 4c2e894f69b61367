"""SparsyFed and its nearest rivals: a slow twin, published counts, identities, and how masks move."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import shuffled_rows
from fedjax_sparse.config import registry
from fedjax_sparse.config import run_config as configs
from fedjax_sparse.config.cards.sparsyfed import FixedMask, SparsyFed, TopKWeights
from fedjax_sparse.config.sections import Cohorts, Training
from fedjax_sparse.data import partition
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.errors import UsageError
from fedjax_sparse.models import model as models
from fedjax_sparse.rounds.pruned_uploads import Server
from fedjax_sparse.server.optimizer import mask_moments
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.setting import Setting, make_setting
from fedjax_sparse.sparsity import consensus, masks
from fedjax_sparse.types import Algorithm, Client, Federation, State, Variables
from tests import toy

SYSTEMS = {"sparsyfed": SparsyFed, "topk-weights": TopKWeights, "fixed-mask": FixedMask}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Rounds(NamedTuple):
    """What three rounds leave behind: the server before and after, and their metrics."""

    setting: Setting
    algorithm: Algorithm
    servers: list[Server]
    metrics: list[Any]


COHORTS = ([0, 3, 4, 6], [1, 2, 3, 5], [0, 1, 5, 6])


def run(
    name: str, setting: Setting, cohorts=COHORTS, federation: Federation | None = None, **hyper
) -> Rounds:
    """Rounds with these cohorts, every client present."""
    entry = registry.entry(name)
    algorithm = registry.load(entry)(federation or setting.federation, entry.hyperparameters(**hyper))
    population = jax.tree.map(jnp.asarray, setting.population)
    key = jax.random.key(3)
    server = jax.jit(lambda: algorithm.init(setting.model.init(key), key))()

    @jax.jit
    def one_round(server, ids, t):
        cohort = populations.gather(population, ids, jnp.ones_like(ids, bool))
        state, metrics = algorithm.round(State(server, ()), cohort, t, jax.random.fold_in(key, t))
        return state.server, metrics

    servers, history = [server], []
    for t, ids in enumerate(cohorts, start=1):
        server, metrics = one_round(server, jnp.asarray(ids, jnp.int32), jnp.int32(t))
        servers.append(server)
        history.append(jax.device_get(metrics))
    return Rounds(setting, algorithm, servers, history)


# The twin: NumPy, one example matrix after the other, written from the pseudo-code.


def orders(setting: Setting, t: int, client: int) -> list[np.ndarray]:
    """Rows of the data in each local step of a client, in the order that the simulation draws."""
    population, plan = setting.population, setting.federation.plan
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), t), client)
    count = int(population.count[client])
    one = Client(
        *(jnp.asarray(x) for x in (client, 1.0, population.index[client], count)), pool=population.pool
    )
    rows = np.asarray(shuffled_rows(one, plan, jax.random.split(key)[0]))
    size = plan.batch_size
    return [epoch[i : min(i + size, count)] for epoch in rows for i in range(0, count, size)]


def twin_power(theta, exponent):
    return theta if exponent == 1 else np.sign(theta) * np.abs(theta) ** exponent


def twin_slope(theta, exponent):
    return np.ones_like(theta) if exponent == 1 else exponent * np.abs(theta) ** (exponent - 1)


def twin_exponents(theta, beta):
    if beta != "spectral":
        return {name: beta if "kernel" in name else 1.0 for name in theta}
    exponents = dict.fromkeys(theta, 1.0)
    for name in theta:
        if "kernel" in name and theta[name].any():
            a = np.abs(theta[name]).T  # [outputs, inputs], as the layer's matrix
            v = a.T @ np.ones(len(a))
            v /= np.linalg.norm(v)
            u = a @ v / np.linalg.norm(a @ v)
            exponents[name] = 1 + a.mean() / (u @ a @ v)
    return exponents


def twin_prune_inputs(a, kernel, floor):
    k = max(-(-np.count_nonzero(kernel) * a.size // kernel.size), int(np.ceil(floor * a.size)))
    return np.where(np.abs(a) >= np.sort(np.abs(a).ravel())[-k], a, 0)


def twin_gradient(theta, x, y, exponents, activation_pruning, floor):
    w = {name: twin_power(theta[name], exponents[name]) for name in theta}
    z = x @ w["kernel 0"] + w["bias 0"]
    a = np.maximum(z, 0)
    logits = a @ w["kernel 1"] + w["bias 1"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    g = (p - np.eye(3)[y]) / len(y)
    h = (g @ w["kernel 1"].T) * (z > 0)
    inputs = [x, a]
    if activation_pruning:
        inputs = [twin_prune_inputs(v, w[f"kernel {i}"], floor) for i, v in enumerate(inputs)]
    gradient = {
        "kernel 0": inputs[0].T @ h,
        "bias 0": h.sum(0),
        "kernel 1": inputs[1].T @ g,
        "bias 1": g.sum(0),
    }
    return {name: gradient[name] * twin_slope(theta[name], exponents[name]) for name in theta}


def twin_prune(theta, kept):
    flat = np.concatenate([theta["kernel 0"].ravel(), theta["kernel 1"].ravel()])
    order = np.argsort(-np.abs(flat), kind="stable")
    flat[order[kept:]] = 0
    cut = theta["kernel 0"].size
    kernels = {"kernel 0": flat[:cut].reshape(4, 5), "kernel 1": flat[cut:].reshape(5, 3)}
    return {**theta, **kernels}


def twin_client(
    theta,
    setting,
    t,
    client,
    sparsity,
    *,
    beta,
    activation_pruning=False,
    floor=1e-7,
    masked=(),
    tiered=False,
):
    kept = 35 - round(sparsity * 35)
    if tiered and t > 1:
        theta = twin_prune(theta, kept)
    masks = {name: theta[name] != 0 if name in masked else 1 for name in theta}
    exponents = twin_exponents(theta, beta)
    data = toy.dataset()
    for rows in orders(setting, t, client):
        x, y = data.x_train[rows], data.y_train[rows]
        gradient = twin_gradient(theta, x, y, exponents, activation_pruning, floor)
        theta = {
            name: theta[name] - 0.5 * masks[name] * (gradient[name] + 1e-3 * theta[name]) for name in theta
        }
    return twin_prune(theta, kept)


def twin_round(theta, setting, t, cohort, sparsity_of, **options):
    clients = [twin_client(theta, setting, t, c, sparsity_of(c), **options) for c in cohort]
    counts = np.array([toy.SIZES[c] for c in cohort])
    return {
        name: sum(n * c[name] for n, c in zip(counts, clients, strict=True)) / counts.sum() for name in theta
    }


def by_twin_names(params):
    return {
        f"{kind} {i}": np.asarray(params[f"Dense_{i}"][kind]) for i in (0, 1) for kind in ("kernel", "bias")
    }


KERNELS = ("kernel 0", "kernel 1")
TIERS = "3:0.4,5:0.6,7:0.8"
TWINS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "sparsyfed": ("sparsyfed", {}, {"beta": 1.25, "activation_pruning": True}),
    "floor": (
        "sparsyfed",
        {"activation_floor": 0.5},
        {"beta": 1.25, "activation_pruning": True, "floor": 0.5},
    ),
    "no activation pruning": ("sparsyfed", {"activation_pruning": False, "beta": 2}, {"beta": 2.0}),
    "spectral": ("sparsyfed", {"beta": "spectral"}, {"beta": "spectral", "activation_pruning": True}),
    "tiers": (
        "sparsyfed",
        {"tiers": TIERS},
        {"beta": 1.25, "activation_pruning": True, "tiered": True},
    ),
    "top-k": ("topk-weights", {}, {"beta": 1.0}),
    "fixed mask": ("fixed-mask", {}, {"beta": 1.0, "masked": KERNELS}),
    "fixed mask, zeros frozen": (
        "fixed-mask",
        {"freeze_zeros": True},
        {"beta": 1.0, "masked": (*KERNELS, "bias 0", "bias 1")},
    ),
}


@pytest.mark.parametrize("case", TWINS)
def test_agrees_with_a_slow_twin_for_three_rounds(case):
    name, hyper, options = TWINS[case]
    setting = toy.setting(client_lr=0.5, weight_decay=1e-3)
    rounds = run(name, setting, sparsity=0.7, **hyper)
    drawn = by_twin_names(setting.model.init(jax.random.key(3)).params)
    theta = drawn
    if name == "sparsyfed" and options["beta"] != "spectral":
        theta = {k: twin_power(v, 1 / options["beta"]) if k in KERNELS else v for k, v in drawn.items()}

    def sparsity_of(client):
        return 0.7 if "tiers" not in hyper else (0.4 if client < 3 else 0.6 if client < 5 else 0.8)

    for t, (cohort, server) in enumerate(zip(COHORTS, rounds.servers[1:], strict=True), start=1):
        theta = twin_round(theta, setting, t, cohort, sparsity_of, **options)
        toy.leaves_close(by_twin_names(server.variables.params), theta)
        support = {k: v != 0 for k, v in by_twin_names(server.variables.params).items()}
        toy.leaves_close(support, {k: v != 0 for k, v in theta.items()})
    # Deployed: pruned once more, and what the model computes with.
    deployed = by_twin_names(rounds.algorithm.model(rounds.servers[-1], ()).params)
    pruned = twin_prune(theta, 35 - round(0.7 * 35))
    exponents = twin_exponents(pruned, options["beta"])
    toy.leaves_close(deployed, {k: twin_power(v, exponents[k]) for k, v in pruned.items()})
    assert rounds.algorithm.server_model is not None
    union = by_twin_names(rounds.algorithm.server_model(rounds.servers[-1]).params)
    exponents = twin_exponents(theta, options["beta"])
    toy.leaves_close(union, {k: twin_power(v, exponents[k]) for k, v in theta.items()})


@functools.cache
def fedavg_model():
    return run("fedavg", toy.setting()).servers[-1].variables


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("sparsyfed", {"beta": 1, "activation_pruning": False}),
        ("sparsyfed", {"beta": 1}),  # a dense kernel prunes no inputs
        ("topk-weights", {}),
        ("fixed-mask", {}),
    ],
)
def test_without_sparsity_and_power_it_is_fedavg(name, hyper):
    rounds = run(name, toy.setting(), sparsity=0.0, **hyper)
    toy.leaves_close(rounds.servers[-1].variables, fedavg_model())
    toy.leaves_close(rounds.algorithm.model(rounds.servers[-1], ()), fedavg_model())
    last = rounds.metrics[-1]
    assert (last.up.values == last.up.size).all()
    assert (last.work.weight_grad == trees.sizes(rounds.setting.federation.params)).all()


def test_power_one_without_activation_pruning_is_top_k():
    setting = toy.setting()
    here = run("sparsyfed", setting, beta=1, activation_pruning=False, sparsity=0.6)
    there = run("topk-weights", setting, sparsity=0.6)
    toy.leaves_close(here.servers[-1], there.servers[-1])


# Counts.


def with_params(federation: Federation, model: models.Model) -> Federation:
    """The federation with another model's shapes: enough for what an algorithm decides before it runs."""
    variables = jax.eval_shape(model.init, jax.random.key(0))
    return federation._replace(
        params=variables.params, kinds=model.kinds, stats_size=trees.size(variables.stats)
    )


@functools.cache
def resnet(classes: int) -> models.Model:
    return models.build("resnet18", (32, 32, 3), classes, norm="batch")


ZEROS = {
    10: {0.9: 10_047_917, 0.95: 10_606_134, 0.99: 11_052_708, 0.995: 11_108_530, 0.999: 11_153_188},
    100: {0.9: 10_089_389, 0.95: 10_649_910, 0.99: 11_098_328, 0.995: 11_154_380, 0.999: 11_199_222},
}
PRUNABLE = {10: 11_164_352, 100: 11_210_432}
OF_ALL = {  # zeros in percent of everything that is trained, as the authors log sparsity
    10: [89.923, 94.918, 98.915, 99.414, 99.814],
    100: [89.922, 94.918, 98.914, 99.414, 99.814],
}


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("name", SYSTEMS)
def test_published_counts_of_zeros(name, classes):
    federation = with_params(toy.setting().federation, resnet(classes))
    entry = registry.entry(name)
    of_all = []
    for sparsity, zeros in ZEROS[classes].items():
        algorithm = registry.load(entry)(federation, SYSTEMS[name](sparsity=sparsity))
        for promise in algorithm.declared:
            assert promise.how == "exact"
            assert promise.kept is not None
            assert promise.kept(1) == PRUNABLE[classes] - zeros
            names = [
                n
                for n, yes in zip(
                    trees.names(promise.prunable), jax.tree.leaves(promise.prunable), strict=True
                )
                if yes
            ]
            assert {"Conv_0/kernel", "Dense_0/kernel"} <= set(names)
            assert all(n.endswith("kernel") for n in names)
        of_all.append(round(100 * zeros / trees.size(federation.params), 3))
    assert of_all == OF_ALL[classes]


def test_a_pruned_resnet_has_the_published_number_of_zeros():
    with jax.enable_x64(False):
        federation = with_params(toy.setting(dtype=jnp.float32).federation, resnet(10))
        algorithm = registry.load(registry.entry("sparsyfed"))(federation, SparsyFed(sparsity=0.95))
        leaves, treedef = jax.tree.flatten(federation.params)
        rng = np.random.default_rng(0)
        full = treedef.unflatten([rng.standard_normal(leaf.shape, np.float32) for leaf in leaves])
        pruned = jax.jit(algorithm.model)(Server(Variables(full), ()), ()).params
    kinds = federation.kinds
    zeros = jax.tree.map(lambda leaf, kind: (kind, int(np.sum(np.asarray(leaf) == 0))), pruned, kinds)
    pairs = jax.tree.leaves(zeros, is_leaf=lambda node: isinstance(node, tuple))
    assert sum(count for kind, count in pairs if kind == "kernel") == 10_606_134
    assert sum(count for kind, count in pairs if kind != "kernel") == 0


def test_the_ranking_is_over_all_layers():
    setting = toy.setting()
    algorithm = toy.algorithm("topk-weights", setting, sparsity=20 / 35)
    variables = setting.model.init(jax.random.key(0))
    large = variables.params["Dense_1"]["kernel"] * 100
    params = {**variables.params, "Dense_1": {**variables.params["Dense_1"], "kernel": large}}
    pruned = algorithm.model(Server(Variables(params), ()), ()).params
    assert not pruned["Dense_0"]["kernel"].any()
    np.testing.assert_array_equal(pruned["Dense_1"]["kernel"], large)


# How masks move.


def supports(rounds: Rounds) -> list[np.ndarray]:
    """The server's living kernel entries before the first and after every round, as one vector each."""
    kernels = [by_twin_names(server.variables.params) for server in rounds.servers]
    return [np.concatenate([params[name].ravel() != 0 for name in KERNELS]) for params in kernels]


MANY = [np.random.default_rng(t).choice(7, 4, replace=False).tolist() for t in range(8)]


@functools.cache
def eight_rounds(**hyper) -> Rounds:
    return run("sparsyfed", toy.setting(client_lr=0.5), MANY, sparsity=0.7, **hyper)


@pytest.mark.parametrize(("beta", "absorbing"), [(1.25, True), (1, False)])
def test_survivors_are_among_those_of_the_round_before(beta, absorbing):
    rounds = eight_rounds(beta=beta)
    nested = [
        not (new & ~old).any() for old, new in zip(supports(rounds)[1:-1], supports(rounds)[2:], strict=True)
    ]
    assert all(nested) == absorbing
    activated = sum(metrics.log["activated"].sum() for metrics in rounds.metrics)
    assert (activated == 0) == absorbing


def test_the_union_is_between_one_upload_and_all_of_them():
    rounds = eight_rounds(beta=1.25)
    for support, metrics in zip(supports(rounds)[1:], rounds.metrics, strict=True):
        assert metrics.up.located.max() <= support.sum() <= metrics.up.located.sum()
    living = [support.sum() for support in supports(rounds)[:-1]]
    assert [metrics.down.values[0] - 8 for metrics in rounds.metrics] == living  # and eight biases


def test_top_k_weights_regrow_what_was_pruned():
    """On softmax regression, where no unit dies: N - kept in every round, for every client."""
    data = toy.dataset()
    model = models.build("softmax", (4,), 3, dtype=jnp.float64)
    parts = np.split(np.arange(40), np.cumsum(toy.SIZES)[:-1])
    population = populations.build(data.x_train, data.y_train, parts)
    setting = make_setting(
        data,
        model,
        population,
        cohorts=Cohorts(cohort_size=4),
        training=Training(rounds=4, local_epochs=2, batch_size=3, client_lr=0.1),
    )
    rounds = run("topk-weights", setting, MANY, sparsity=0.75)
    for metrics in rounds.metrics:
        np.testing.assert_array_equal(metrics.log["regrowth"], 12 - 3)


def test_regrowth_counts():
    before, during, after = (
        {"w": jnp.asarray(x, bool)} for x in ([1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 1, 1], [1, 0, 1, 0, 0, 0])
    )
    found = consensus.regrowth(before, during, after, {"w": True})
    assert (found.regrowth, found.activated, found.deactivated) == (3, 1, 2)


def test_overlap_of_masks():
    a, b = (jax.random.bernoulli(jax.random.key(i), 0.2, (40_000,)) for i in (0, 1))
    among = {"w": True}
    assert masks.iou({"w": a}, {"w": a}, among) == 1
    assert masks.iou({"w": a}, {"w": ~a}, among) == 0
    random = float(masks.iou({"w": a}, {"w": b}, among))
    assert random == pytest.approx(0.2 / 1.8, abs=0.01)
    always = jnp.ones(5_000, bool)
    with_norms = masks.iou({"w": a, "norm": always}, {"w": b, "norm": always}, {"w": True, "norm": True})
    assert with_norms > random + 0.1


def test_overlap_of_each_two_clients():
    rows = jnp.stack(
        [
            consensus.bits({"w": jnp.asarray(m, bool), "b": jnp.ones(3, bool)}, {"w": True, "b": False})
            for m in ([1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0])
        ]
    )
    wanted = [[1, 1 / 3, 1 / 2, 1], [1 / 3, 1, 1 / 2, 1 / 3], [1 / 2, 1 / 2, 1, 1 / 2], [1, 1 / 3, 1 / 2, 1]]
    np.testing.assert_allclose(consensus.overlaps(rows), wanted, rtol=1e-6)
    np.testing.assert_array_equal(consensus.overlaps(jnp.zeros((2, 3), jnp.uint8)), 0)


def test_logged_overlaps_are_those_of_the_supports():
    rounds, plain = eight_rounds(log_masks=True), eight_rounds(beta=1.25)
    toy.leaves_close(rounds.servers[-1], plain.servers[-1])
    for old, new, metrics in zip(supports(rounds)[:-1], supports(rounds)[1:], rounds.metrics, strict=True):
        log = metrics.log
        assert log["mask_iou_rounds"] == pytest.approx((old & new).sum() / (old | new).sum(), rel=1e-6)
        assert log["server_density_prunable"] == pytest.approx(new.mean(), rel=1e-6)
        assert log["density/Dense_0/kernel"] == pytest.approx(new[:20].mean(), rel=1e-6)
        assert ((log["mask_iou_pairs"] > 0) & (log["mask_iou_pairs"] <= 1)).all()
    first = rounds.metrics[0].log
    np.testing.assert_allclose(first["mask_iou_client"], (35 - round(0.7 * 35)) / 35, rtol=1e-6)
    assert "mask_iou_pairs" not in plain.metrics[0].log


def test_a_server_with_momentum_stays_within_the_union():
    setting = toy.setting(client_lr=0.5, server_opt="momentum")
    rounds = run("sparsyfed", setting, MANY, sparsity=0.7)
    assert supports(rounds)[-1].sum() < 35
    server = rounds.servers[-1]
    union = jax.tree.map(lambda leaf: leaf != 0, server.variables.params)
    optimizer = setting.federation.server_optimizer
    kernels_only = jax.tree.map(lambda mask, kind: mask | (kind != "kernel"), union, setting.federation.kinds)
    toy.leaves_close(mask_moments(optimizer, server.opt, kernels_only), server.opt)


def images(model: models.Model, rounds: int) -> Setting:
    """Four classes of noisy 8x8 patterns, 800 to train on, at ten clients who hold mostly one or two classes each."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 1000).astype(np.int32)
    x = (rng.normal(size=(1000, 8, 8, 1)) + rng.normal(size=(4, 8, 8, 1))[y]).astype(np.float32)
    data = Dataset("images", x[:800], y[:800], x[800:], y[800:], "classification", 4, None, (0.0,), (1.0,))
    parts = partition.dirichlet_by_class(data.y_train, 10, seed=0, alpha=0.5)
    population = populations.build(data.x_train, data.y_train, parts)
    training = Training(rounds=rounds, local_epochs=1, batch_size=8, client_lr=0.2, weight_decay=1e-3)
    return make_setting(data, model, population, cohorts=Cohorts(cohort_size=5), training=training)


@pytest.mark.slow
def test_sparsyfed_agrees_on_a_mask_and_top_k_weights_do_not():
    with jax.enable_x64(False):
        model = models.build("mlp", (8, 8, 1), 4, hidden=(100, 50))
        setting = images(model, rounds=30)
        curves = {
            name: driver.simulate(toy.algorithm(name, setting, sparsity=0.95), setting).rows[0]
            for name in ("sparsyfed", "topk-weights")
        }
    sparsyfed, top_k = curves["sparsyfed"], curves["topk-weights"]
    assert all(abs(row["server_density_prunable"] - 0.05) < 0.005 for row in sparsyfed[6:])
    mean = {name: np.mean([row["regrowth"] for row in rows[2:]]) for name, rows in curves.items()}
    assert mean["topk-weights"] > 50 * mean["sparsyfed"]
    assert sparsyfed[-1]["mask_iou_rounds"] > 0.9
    assert sparsyfed[-1]["server_test_accuracy"] > max(0.9, top_k[-1]["server_test_accuracy"] - 0.05)


# Variants.


@pytest.mark.parametrize("name", SYSTEMS)
def test_bfloat16(name):
    with jax.enable_x64(False):
        setting = toy.setting(dtype=jnp.bfloat16, client_lr=0.3)
        rounds = run(name, setting, MANY, sparsity=0.8)
        assert trees.all_finite(rounds.servers[-1].variables.params)
        assert all(
            leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(rounds.servers[-1].variables.params)
        )
        losses = [metrics.loss.mean() for metrics in rounds.metrics]
    assert (rounds.metrics[-1].up.located <= 7).all()
    assert losses[-1] < losses[0]


def convolutional(setting: Setting) -> Federation:
    """A 2x2 image through a 2x2 and a 1x1 convolution to three classes, on the toy's four features."""
    shapes = {"1x1": (1, 1, 3, 3), "2x2": (2, 2, 1, 3)}

    def loss(variables, batch, ops):
        x = batch.x.reshape(-1, 2, 2, 1)
        for name in ("2x2", "1x1"):
            x = ops.conv(f"{name}/kernel", x, variables.params[name]["kernel"], (1, 1), "SAME")
        losses = -jax.nn.log_softmax(x.mean((1, 2)))[jnp.arange(len(x)), batch.y]
        return jnp.sum(jnp.where(batch.mask, losses, 0)) / jnp.sum(batch.mask), variables.stats

    params = {name: {"kernel": jax.ShapeDtypeStruct(shape, jnp.float64)} for name, shape in shapes.items()}
    kinds = jax.tree.map(lambda leaf: "kernel", params)
    return setting.federation._replace(loss=loss, params=params, kinds=kinds, stats_size=0)


def run_convolutional(batch_size: int, **hyper) -> Rounds:
    setting = toy.setting(batch_size=batch_size, client_lr=0.5, local_epochs=1)
    federation = convolutional(setting)

    def init(key):
        return Variables(jax.tree.map(lambda leaf: jax.random.normal(key, leaf.shape), federation.params))

    setting = setting._replace(model=setting.model._replace(init=init))
    return run("sparsyfed", setting, federation=federation, sparsity=0.5, **hyper)


def test_a_cached_threshold_lasts_for_one_round():
    """The same as a fresh one where a round is one batch, and another where it is several."""
    toy.leaves_close(
        run_convolutional(9, cached_thresholds=True).servers[-1], run_convolutional(9).servers[-1]
    )
    cached, fresh = (run_convolutional(3, cached_thresholds=yes).servers for yes in (True, False))
    toy.leaves_close(cached[1], fresh[1])  # kernels are dense in round 1, and prune nothing
    assert not np.allclose(
        cached[2].variables.params["2x2"]["kernel"], fresh[2].variables.params["2x2"]["kernel"]
    )


def test_pointwise_convolutions_may_stay_plain():
    drawn = jax.random.normal(jax.random.key(3), (1, 1, 3, 3))
    skipped, powered = (run_convolutional(3, skip_downsample=yes) for yes in (True, False))
    np.testing.assert_array_equal(skipped.servers[0].variables.params["1x1"]["kernel"], drawn)
    expected = np.sign(drawn) * np.abs(drawn) ** 0.8
    np.testing.assert_allclose(powered.servers[0].variables.params["1x1"]["kernel"], expected)
    # They still compete for the same places, and only they may come back.
    for rounds in (skipped, powered):
        assert (rounds.metrics[-1].up.located == 21 - round(0.5 * 21)).all()
    sizes = np.array([9, 12])
    assert (skipped.metrics[1].work.weight_grad[:, 0] == sizes[0]).all()
    assert (powered.metrics[1].work.weight_grad < sizes).all()


def test_costs_of_activation_pruning():
    """Forward: living weights. The kernel's gradient: the kept share of inputs, at least the floor; or everything."""
    setting = toy.setting(client_lr=0.5)
    floor = run("sparsyfed", setting, sparsity=0.8, activation_floor=0.5).metrics[-1].work
    np.testing.assert_array_equal(floor.weight_grad[:, [1, 3]], np.maximum(floor.forward[:, [1, 3]], [10, 8]))
    off = run("sparsyfed", setting, sparsity=0.8, activation_pruning=False).metrics[-1].work
    np.testing.assert_array_equal(off.weight_grad[:, [1, 3]], [[20, 15]] * 4)
    assert (off.forward[:, [1, 3]].sum(1) < 35).all()
    masked = run("fixed-mask", setting, sparsity=0.8).metrics[-1].work
    np.testing.assert_array_equal(masked.weight_grad, masked.forward)


# Bad input.


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"beta": 0.99}, r"--beta = 0.99 is out of range; allowed: \[1, inf\)"),
        ({"beta": "spectrum"}, "beta"),
        ({"sparsity": 1.0}, r"--sparsity = 1.0 is out of range; allowed: \[0, 1\)"),
        ({"sparsity": -0.1}, "--sparsity"),
        ({"activation_floor": 0.0}, r"--activation-floor = 0.0 is out of range; allowed: \(0, 1\]"),
        ({"tiers": ""}, "--tiers = '' is not valid"),
        ({"tiers": "40"}, "--tiers = '40' is not valid"),
        ({"tiers": "40:0.9,x:0.95"}, "is not valid; allowed: id:sparsity"),
        ({"tiers": "40:0.9,40:0.95"}, "ascending"),
        ({"tiers": "0:0.9"}, "positive ids"),
        ({"tiers": "40:0.9,100:1"}, "sparsity in --tiers = 1.0 is out of range"),
    ],
)
def test_bad_values_are_refused_at_the_door(hyper, message):
    with pytest.raises(UsageError, match=message):
        SparsyFed(**hyper)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"sparsity": 0.99}, "sparsity 0.99 keeps none of the model's 35 prunable entries"),
        ({"tiers": "4:0.5,7:0.99"}, "sparsity 0.99 keeps none"),
        (
            {"tiers": "4:0.5,6:0.9"},
            "--tiers end at client 6; allowed: a last bound of at least --clients = 7",
        ),
    ],
)
def test_what_does_not_fit_the_model_or_the_population_is_refused_before_it_runs(hyper, message):
    with pytest.raises(UsageError, match=message):
        toy.algorithm("sparsyfed", toy.setting(), **hyper)


def test_too_many_masks_are_refused():
    federation = toy.setting().federation._replace(cohort_size=33)
    entry = registry.entry("topk-weights")
    with pytest.raises(UsageError, match="--cohort-size = 33 is too large for --log-masks; allowed: 1 to 32"):
        registry.load(entry)(federation, TopKWeights(log_masks=True, sparsity=0.5))


# The paper's runs.

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "sparsyfed"
PLAIN = sorted(EXPERIMENTS.glob("*_s95.toml"))
QUIRKS = {
    "activation_floor": 0.01,
    "skip_downsample": True,
    "cached_thresholds": True,
    "counting": "float64",
}


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_experiments_come_in_pairs_that_differ_by_the_quirks_of_the_official_code(path):
    plain, official = (
        configs.from_toml_dict(configs.read(file)) for file in (path, path.with_stem(f"{path.stem}_official"))
    )
    assert official.hyper == dataclasses.replace(plain.hyper, **QUIRKS)
    last = {run.training.rounds: run.training.lr_schedule for run in (plain, official)}
    assert last in ({700: "exponential:0.02@500"}, {500: "exponential:0.002"})
    assert official.data.model == f"{plain.data.model},unbiased=true"
    same = configs.changed(official, lr_schedule=plain.training.lr_schedule, model=plain.data.model)
    assert dataclasses.replace(same, hyper=plain.hyper) == plain
    assert plain.hyper == SparsyFed(sparsity=0.95)


def test_there_are_experiments():
    assert len(PLAIN) == 7
