"""The twin of SCAFFOLD against the golden values and identities of its definition."""

import numpy as np
import pytest

from tests.algorithms import proxskip_twin
from tests.baselines import local_training_twin, scaffold_twin
from tests.baselines.quadratics import BOTH, LR, START, B, K, close, golden, quadratic


def scaffold(cohorts, option="II", control=0.0, **options):
    state, history = scaffold_twin.init(START, 2, control=control), []
    full = golden if option == "I" else None
    for cohort in cohorts:
        state, y = scaffold_twin.run_round(
            state, cohort, golden, steps=K, lr=LR, full_gradient=full, **options
        )
        history.append((state, y))
    return history


@pytest.mark.parametrize(
    ("option", "cohorts", "rounds"),
    [
        (
            "I",
            [BOTH, BOTH],
            [((0.19, -1.02), -0.415, 2.5, (-1, 6)), ((-0.81115, -0.62835), -0.71975, 1.67, (-1.415, 4.755))],
        ),
        (
            "II",
            [BOTH, BOTH],
            [
                ((0.19, -1.02), -0.415, 2.075, (-0.95, 5.1)),
                ((-0.7209, -0.7091), -0.715, 1.5, (-1.4955, 4.4955)),
            ],
        ),
        (
            "II",
            [[0], [1]],
            [((0.19,), 0.19, -0.475, (-0.95, 0)), ((-0.84615,), -0.84615, 2.352875, (-0.95, 5.65575))],
        ),
        ("I", [[0], [1]], [None, ((-0.8419,), -0.8419, 2.785, (-1, 6.57))]),
    ],
)
def test_scaffold_golden(option, cohorts, rounds):
    for (state, models), row in zip(scaffold(cohorts, option), rounds, strict=True):
        if row is None:
            continue
        y, x, c, c_k = row
        close([models[k] for k in sorted(models)], y)
        close(state["x"], x)
        close(state["c"], c)
        close(state["c_k"], c_k)


@pytest.mark.parametrize("option", ["I", "II"])
def test_scaffold_finds_the_minimiser_where_fedavg_stalls(option):
    state, _ = scaffold([BOTH] * 300, option)[-1]
    close(state["x"], -1.25)
    close(state["c_k"], (-2.25, 2.25))
    close(state["c"], 0)
    x = START
    for _ in range(300):
        x = local_training_twin.fedavg_round(x, BOTH, golden, steps=K, lr=LR)
    close(x, -1.185714285714)


def test_controls_that_start_elsewhere_bias_rounds_before_everyone_took_part():
    cohorts = [[0], [1], [0], [1]]
    xs = lambda **options: [state["x"] for state, _ in scaffold(cohorts, **options)]  # noqa: E731
    close(xs(), (0.19, -0.84615, -1.12292775, -0.92638202), 8)
    close(xs(control=5.0), (0.19, -0.42115, -0.81430275, -0.77680264), 8)


def test_controls_that_start_elsewhere_are_harmless_after_a_full_round():
    for zero, five in zip(scaffold([BOTH] * 4), scaffold([BOTH] * 4, control=5.0), strict=True):
        close(zero[0]["x"], five[0]["x"])


@pytest.mark.parametrize("option", ["I", "II"])
def test_scaffold_c_stays_the_mean_of_all_controls(option):
    rng = np.random.default_rng(0)
    exact, noisy = quadratic(0, 5, 3)
    state = scaffold_twin.init(np.zeros(3), 5)
    for _ in range(10):
        cohort = rng.choice(4, size=2, replace=False).tolist()
        state, _ = scaffold_twin.run_round(
            state,
            cohort,
            noisy,
            steps=(1, 2, 3, 4, 5),
            lr=0.05,
            full_gradient=exact if option == "I" else None,
        )
        close(state["c"], state["c_k"].mean(axis=0))
    np.testing.assert_array_equal(state["c_k"][4], 0)


def test_scaffold_of_one_client_is_local_sgd():
    _, noisy = quadratic(1, 1, 3)
    state, x = scaffold_twin.init(np.zeros(3), 1), np.zeros(3)
    for _ in range(5):
        state, _ = scaffold_twin.run_round(state, [0], noisy, steps=[4], lr=0.1)
        x = local_training_twin.sgd(noisy, 0, x, steps=4, lr=0.1)
        close(state["x"], x)
        close(state["c"], state["c_k"][0])


def test_scaffold_corrections_cancel_at_one_step_of_everyone():
    exact, _ = quadratic(2, 4, 3)
    state, x = scaffold_twin.init(np.zeros(3), 4), np.zeros(3)
    for _ in range(6):
        state, _ = scaffold_twin.run_round(state, range(4), exact, steps=[1] * 4, lr=0.1, server_lr=0.7)
        x = x - 0.7 * 0.1 * np.mean([exact(k, x) for k in range(4)], axis=0)
        close(state["x"], x)


def test_scaffold_without_controls_is_unweighted_fedavg():
    _, noisy = quadratic(3, 4, 3)
    state, x = scaffold_twin.init(np.zeros(3), 4), np.zeros(3)
    for cohort in ([0, 3], [1, 2, 3]):
        after, _ = scaffold_twin.run_round(state, cohort, noisy, steps=(1, 2, 3, 4), lr=0.1, server_lr=0.7)
        x = local_training_twin.fedavg_round(x, cohort, noisy, steps=(1, 2, 3, 4), lr=0.1, server_lr=0.7)
        close(after["x"], x)
        state = scaffold_twin.init(after["x"], 4)


def test_scaffold_option_two_of_everyone_is_scaffnew_with_a_fixed_period():
    exact, _ = quadratic(4, 4, 3)
    steps, rounds, lr = 5, 30, 0.05
    state = scaffold_twin.init(np.zeros(3), 4)
    for _ in range(rounds):
        state, _ = scaffold_twin.run_round(state, range(4), exact, steps=[steps] * 4, lr=lr)
    coins = ([False] * (steps - 1) + [True]) * rounds
    run = proxskip_twin.scaffnew(exact, np.zeros(3), coins, clients=4, gamma=lr, p=1 / steps)
    close(state["x"], run.server)
    close(state["c_k"] - state["c"], run.h)


def test_scaffold_quirks_change_the_golden_run_by_what_they_say():
    _, reference = scaffold([BOTH]), scaffold([BOTH, BOTH])[-1][0]
    halved, _ = scaffold([BOTH], control_lr=2 * LR)[-1]
    close(halved["c_k"], (-0.475, 2.55))
    omega = (0.5, 1.5)
    weighted = scaffold([BOTH, BOTH], omega=omega)
    close(weighted[0][0]["c"], (0.5 * -0.95 + 1.5 * 5.1) / 2)
    # Corrections of the second round: .95 + 3.5875 / .5 and -5.1 + 3.5875 / 1.5.
    close(weighted[1][0]["x"], -7.3585 / 6)
    close(weighted[1][0]["c_k"], (1.837, 19.513 / 6))
    assert not np.allclose(weighted[1][0]["x"], reference["x"])
    clipped, _ = scaffold([BOTH], clip_norm=1.0)[-1]
    close(clipped["x"], np.mean([0.19, -0.2]))  # gradients -1, -.9 stay; 6, then 5.7, go down to 1
    decayed, _ = scaffold([[0]], clip_norm=0.5, weight_decay=0.1)[-1]
    close(decayed["x"], 0.05 + 0.1 * (0.5 - 0.1 * 0.05))


def test_scaffold_dyn_weights_keep_the_weighted_mean_of_controls():
    rng = np.random.default_rng(5)
    _, noisy = quadratic(5, 4, 3)
    counts = np.asarray([10, 20, 30, 40])
    omega = 4 * counts / counts.sum()
    state = scaffold_twin.init(np.zeros(3), 4)
    for _ in range(5):
        cohort = rng.choice(4, size=2, replace=False).tolist()
        state, _ = scaffold_twin.run_round(state, cohort, noisy, steps=[3] * 4, lr=0.05, omega=omega)
        close(state["c"], counts / counts.sum() @ state["c_k"])


def sgd_with_momentum(momentum):
    def local_step(client, y, step, memory):
        g = np.append(golden(client, y[:1], step), 0.0)
        m = g if memory is None else momentum * memory + g
        y = y - LR * m
        y[1] = 0.9 * y[1] + 0.1 * B[client]  # a running mean
        return y, m

    return local_step


def test_niid_round_is_option_two_without_momentum_and_statistics():
    state, plain = scaffold_twin.init(np.zeros(2), 2), scaffold_twin.init(START, 2)
    for cohort in (BOTH, [1], BOTH):
        state = scaffold_twin.niid_round(state, cohort, sgd_with_momentum(0.0), steps=K, lr=LR, counts=(1, 1))
        plain, _ = scaffold_twin.run_round(plain, cohort, golden, steps=K, lr=LR)
        close(state["x"][0], plain["x"])
        close(state["c_k"][:, 0], plain["c_k"])
    assert np.all(state["c_k"][:, 1] != 0), "statistics have controls too"


def test_niid_round_weighs_models_and_keeps_momentum_out_of_the_correction():
    state = scaffold_twin.init(np.zeros(2), 2)
    state = scaffold_twin.niid_round(state, BOTH, sgd_with_momentum(0.5), steps=K, lr=LR, counts=(1, 3))
    # y_1: .1, then m = -.9 - .5; y_2: -.6, then m = 4.2 + 3.
    close(state["x"][0], 0.25 * 0.24 + 0.75 * -1.32)
    close(state["c_k"][:, 0], (-1.2, 6.6))
    close(state["c"], state["c_k"].mean(axis=0))


def test_dyn_cohort_redraws_the_empty_and_steps_are_common():
    draws = [np.asarray([0.9, 0.8, 0.6]), np.asarray([0.4, 0.6, 0.1])]
    assert scaffold_twin.bernoulli_cohort(draws, 0.5) == [0, 2]
    with pytest.raises(ValueError, match="no row"):
        scaffold_twin.bernoulli_cohort(draws[:1], 0.5)
    assert scaffold_twin.common_steps([100, 150, 260], batch=50, epochs=5) == 20
