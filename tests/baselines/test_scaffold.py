"""SCAFFOLD against its slow twin, the golden values of its definition, and Scaffnew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.costs import prices
from fedjax_sparse.trees import sub
from fedjax_sparse.types import State
from tests import toy
from tests.baselines import quadratic_federation as bench
from tests.baselines import scaffold_twin
from tests.baselines.local_training_twin import fedavg_round
from tests.baselines.quadratics import BOTH, LR, START, K, close, golden, quadratic

SIZES = (1, 4, 5, 7)  # examples in batches of 3: 1, 2, 2, 3 steps
STEPS, COHORTS = (1, 2, 2, 3), ([0, 1, 3], [2, 3], [0, 2, 1])
OMEGA = np.asarray(SIZES) / np.mean(SIZES)
D = 8


def start(**hyper):
    _, noisy = quadratic(4, 4, D)
    options = {"batch_size": 3, "lr_schedule": hyper.pop("lr_schedule", "constant")}
    options |= hyper.pop("run", {})
    setting = bench.federation(noisy, SIZES, bench.TWO_LEAVES, **options)
    return bench.start("scaffold", setting, np.linspace(-1, 1, D), **hyper)


def noisy_mean(client, x):
    """The gradient over all examples of a client, whose batches of 3 have noise of their own."""
    _, noisy = quadratic(4, 4, D)
    sizes = [min(3, SIZES[client] - first) for first in range(0, SIZES[client], 3)]
    return np.average([noisy(client, x, step) for step in range(len(sizes))], axis=0, weights=sizes)


@pytest.mark.parametrize(
    ("hyper", "twin"),
    [
        ({"control_option": "II"}, {}),
        ({"control_option": "I"}, {"full_gradient": noisy_mean}),
        ({"control_weights": "examples"}, {"omega": OMEGA}),
        ({"run": {"clip_norm": 1.0, "weight_decay": 0.1}}, {"clip_norm": 1.0, "weight_decay": 0.1}),
        ({"run": {"server_lr": 0.5}}, {"server_lr": 0.5}),
        ({"control_rate": "first", "lr_schedule": "decay:0.5"}, {"control_lr": LR}),
    ],
)
def test_three_rounds_agree_with_the_twin(hyper, twin):
    _, noisy = quadratic(4, 4, D)
    decay = 0.5 if "lr_schedule" in hyper else 1.0
    state = scaffold_twin.init(np.linspace(-1, 1, D), 4)
    history = start(**hyper).after(COHORTS)
    for t, (cohort, (new, _)) in enumerate(zip(COHORTS, history, strict=True)):
        state, _ = scaffold_twin.run_round(state, cohort, noisy, steps=STEPS, lr=LR * decay**t, **twin)
        close(bench.flat(new.server.variables.params), state["x"])
        close(bench.flat(new.server.control), state["c"])
        close(bench.rows(new.client), state["c_k"])


def test_control_variates_may_start_from_a_random_network():
    _, noisy = quadratic(4, 4, D)
    x = np.linspace(-1, 1, D)
    state, _ = scaffold_twin.run_round(
        scaffold_twin.init(x, 4, control=x), COHORTS[0], noisy, steps=STEPS, lr=LR
    )
    ((new, _),) = start(first_control="model").after(COHORTS[:1])
    close(bench.flat(new.server.variables.params), state["x"])
    close(bench.rows(new.client), state["c_k"])


@pytest.mark.parametrize(
    ("option", "cohorts", "x", "c", "c_k"),
    [
        ("I", [BOTH, BOTH], (-0.415, -0.71975), (2.5, 1.67), [(-1, 6), (-1.415, 4.755)]),
        ("II", [BOTH, BOTH], (-0.415, -0.715), (2.075, 1.5), [(-0.95, 5.1), (-1.4955, 4.4955)]),
        ("II", [[0], [1]], (0.19, -0.84615), (-0.475, 2.352875), [(-0.95, 0), (-0.95, 5.65575)]),
    ],
)
def test_golden_values(option, cohorts, x, c, c_k):
    setting = bench.federation(golden, (2, 2), bench.ONE, local_epochs=K[0])
    history = bench.start("scaffold", setting, START, control_option=option).after(cohorts)
    for (state, _), *expected in zip(history, x, c, c_k, strict=True):
        for actual, value in zip(
            (state.server.variables.params, state.server.control, state.client), expected, strict=True
        ):
            close(bench.flat(actual), value)


def test_the_servers_control_variate_is_the_mean_of_the_clients():
    for state, _ in start().after(COHORTS):
        close(bench.flat(state.server.control), bench.rows(state.client).mean(axis=0))


def test_before_anything_is_known_a_round_is_federated_averaging():
    _, noisy = quadratic(4, 4, D)
    ((state, _),) = start().after(COHORTS[:1])
    expected = fedavg_round(np.linspace(-1, 1, D), COHORTS[0], noisy, steps=STEPS, lr=LR)
    close(bench.flat(state.server.variables.params), expected)


def test_option_two_with_everyone_is_scaffnew_with_a_fixed_coin():
    """At rate 1 and p = 1/K, on a perceptron with shuffled batches: models agree, and h_k = c_k - c."""
    setting = toy.setting(cohort_size=7, local_steps=4)
    setting = setting._replace(population=setting.population._replace(weight=np.ones(7)))
    variables = setting.model.init(jax.random.key(3))
    runs = {}
    for name, hyper in (("scaffold", {}), ("scaffnew", {"probability": 0.25, "coin": "fixed"})):
        x = bench.flat(variables.params)
        runs[name] = bench.start(name, setting, x, **hyper).after([range(7)] * 3)
    for (ours, _), (theirs, _) in zip(runs["scaffold"], runs["scaffnew"], strict=True):
        toy.leaves_close(ours.server.variables.params, theirs.server.params)
        h = jax.tree.map(lambda c_k, c: c_k - c[None], ours.client, ours.server.control)
        toy.leaves_close(h, theirs.client)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(runs["scaffnew"][-1][0].client)) > 0.01


def test_a_client_without_examples_keeps_what_it_knew():
    """It takes no step, so there is nothing to divide by."""
    run = start()
    state = State(run.state.server, jax.tree.map(jnp.ones_like, run.state.client))
    population = run.setting.population
    empty = run.setting._replace(population=population._replace(count=np.asarray([0, 4, 5, 7], np.int32)))
    again = bench.start("scaffold", empty, np.linspace(-1, 1, D))
    new, _ = again.step(state, [0], 1)
    np.testing.assert_array_equal(bench.rows(new.client), 1.0)
    np.testing.assert_array_equal(bench.flat(sub(new.server.control, state.server.control)), 0.0)


@pytest.mark.parametrize(("option", "passes"), [("I", 2), ("II", 1)])
def test_everything_travels_twice_and_option_one_passes_once_more(option, passes):
    ((_, metrics),) = start(control_option=option).after(COHORTS[:1])
    assert prices.message_bytes(metrics.up, "smallest", 4) == 3 * 2 * D * 4
    assert prices.message_bytes(metrics.down, "smallest", 4) == 3 * 2 * D * 4
    np.testing.assert_array_equal(metrics.work.examples, [passes * SIZES[k] for k in (0, 1, 3)] + [0])
