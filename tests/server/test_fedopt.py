"""FedAdagrad, FedAdam, FedYogi and FedAvgM: golden rows of their definitions, their twin, and identities."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_sparse import errors
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.config.sections import Server
from fedjax_sparse.server import fedopt
from fedjax_sparse.server.optimizer import mask_moments
from tests.baselines import fedopt_twin

DELTAS = (np.asarray([0.1, -0.02, 0]), np.asarray([-0.05, 0.02, 0.001]))


SINGLE = tuple(delta.astype(np.float32) for delta in DELTAS)


def steps(optimizer: optax.GradientTransformation, deltas=DELTAS) -> tuple[list[np.ndarray], Any]:
    """x after each step from 0, and the last state, in float64 unless the deltas are not."""
    x: Any = jnp.zeros(3, deltas[0].dtype)
    state, found = optimizer.init(x), []
    for delta in deltas:
        updates, state = jax.jit(optimizer.update)(-jnp.asarray(delta), state, x)
        x = optax.apply_updates(x, updates)
        found.append(np.asarray(x))
    return found, state


@pytest.mark.parametrize(
    ("name", "constants", "first", "second"),
    [
        (
            "adagrad",
            {"momentum": 0.9},
            (0.0099005, -0.0095124922, 0),
            (0.0134463519, -0.0088299436, 0.0041421356),
        ),
        ("adagrad", {}, (0.0990049999, -0.095124922, 0), (0.0546818515, -0.0268700635, 0.0414213562)),
        ("adam", {}, (0.0905028312, -0.0618461549, 0), (0.123345037, -0.0568336236, 0.0050124366)),
        ("yogi", {}, (0.0904987562, -0.0618033989, 0), (0.1232186671, -0.0568033989, 0.005)),
        (
            "adam-flower",
            {"tau": 1e-3},
            (0.0909090909, -0.0666666667, 0),
            (0.1238701599, -0.0614329104, 0.0090909091),
        ),
        ("yogi-flower", {}, (0.0909090909, -0.0666666667, 0), (0.123748897, -0.0614425892, 0.0090909091)),
        (
            "adam-tff",
            {"tau": 1e-3, "decay": 0.99},
            (0.0909090909, -0.0666666667, 0),
            (0.1153813592, -0.0627808131, 0.0067496344),
        ),
        (
            "yogi-tff",
            {"decay": 0.99},
            (0.0904987562, -0.0618033989, 0),
            (0.1147919743, -0.0580910999, 0.0037122989),
        ),
    ],
)
def test_golden_rows(name, constants, first, second):
    """rate 0.1, b1 0.9, b2 0.99, tau 1e-3 of each row."""
    with jax.enable_x64(True):
        found, _ = steps(fedopt.make(name, 0.1, **constants))
        np.testing.assert_allclose(found, (first, second), rtol=0, atol=1e-10)


def test_golden_momentum():
    with jax.enable_x64(True):
        found, _ = steps(fedopt.make("momentum", 1.0))
        np.testing.assert_allclose(found[1], (0.14, -0.018, 0.001), rtol=0, atol=1e-15)


SOURCES = {"flower": "flower", "tff": "tff", "keras": "keras-yogi"}


@pytest.mark.parametrize("name", fedopt.VARIANTS)
def test_every_variant_is_its_twin(name):
    """Also the constants, where the twin states them; ten rounds of random steps."""
    rule, _, source = name.partition("-")
    known = fedopt_twin.DEFAULTS.get((SOURCES.get(source, "paper"), rule), {})
    variant = fedopt.VARIANTS[name]
    assert variant.momentum == known.get("b1", 0.0)
    assert variant.decay == known.get("b2", variant.decay)
    assert variant.tau == known.get("tau", 1e-9)
    v0 = variant.tau**2 if not source else known.get("v0", 0.0)
    deltas = np.random.default_rng(0).normal(size=(10, 3))
    state, expected = fedopt_twin.init(np.zeros(3), v0), []
    for delta in deltas:
        if name == "adagrad-tff":
            state = fedopt_twin.tff_adagrad_round(state, delta, lr=0.1, tau=1e-7)
        else:
            state = fedopt_twin.adaptive_round(
                state,
                delta,
                rule=rule,
                lr=0.1,
                b1=variant.momentum,
                b2=variant.decay,
                tau=variant.tau,
                bias_correction=SOURCES.get(source) in fedopt_twin.BIAS_CORRECTED,
            )
        expected.append(state["x"])
    with jax.enable_x64(True):
        found, last = steps(fedopt.make(name, 0.1), tuple(deltas))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(last.v, state["v"], rtol=1e-12)


def test_the_correction_of_the_rate_is_exact_in_float32():
    found, _ = steps(fedopt.make("adam-tff", 0.1), SINGLE)
    with jax.enable_x64(True):
        expected, _ = steps(fedopt.make("adam-tff", 0.1))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_a_huge_tau_from_zero_is_fedavg_and_half_of_it_from_tau_squared():
    constants = {"momentum": 0.0, "tau": 1e8}
    with jax.enable_x64(True):
        zero, _ = steps(fedopt.make("yogi-flower", 1e8, **constants))
        half, _ = steps(fedopt.make("yogi", 1e8, **constants))
        np.testing.assert_allclose(zero[0], DELTAS[0], rtol=2e-8)
        np.testing.assert_allclose(half[0], DELTAS[0] / 2, rtol=2e-8)


def test_no_momentum_at_rate_one_is_fedavg():
    found, _ = steps(fedopt.make("momentum", 1.0, momentum=0.0), SINGLE)
    np.testing.assert_allclose(found[0], DELTAS[0], rtol=1e-6)
    np.testing.assert_array_equal(steps(fedopt.make("sgd", 1.0), SINGLE)[0], found)


def test_masked_moments_go_back_to_where_they_start():
    optimizer = fedopt.make("adam", 0.1)
    params = {"w": jnp.zeros(3)}
    state: Any
    _, state = optimizer.update({"w": jnp.asarray([1.0, 2.0, 3.0])}, optimizer.init(params))
    masked: Any = mask_moments(optimizer, state, {"w": jnp.asarray([True, False, True])})
    assert masked.count == 1
    np.testing.assert_array_equal(masked.m["w"] == 0, [False, True, False])
    np.testing.assert_allclose(masked.v["w"][1], 1e-6)
    np.testing.assert_array_equal(masked.v["w"][::2], state.v["w"][::2])


def test_an_unknown_name_is_refused():
    with pytest.raises(
        errors.UsageError, match="unknown server optimizer 'adam-flowr'; did you mean 'adam-flower'"
    ):
        fedopt.make("adam-flowr", 0.1)


@pytest.mark.parametrize("name", fedopt.NAMES)
def test_every_name_descends(name):
    optimizer, w = fedopt.make(name, 0.1), jnp.asarray([3.0, -2.0])

    def step(_, carry):
        w, state = carry
        updates, state = optimizer.update(2 * w, state, w)
        return optax.apply_updates(w, updates), state

    w, _ = jax.jit(lambda: jax.lax.fori_loop(0, 400, step, (w, optimizer.init(w))))()
    assert jnp.max(jnp.abs(w)) < 0.5


def test_the_command_line_knows_every_name():
    options = {option.name: option for option in declared_options(Server)}
    assert get_args(options["server_opt"].annotation) == fedopt.NAMES
