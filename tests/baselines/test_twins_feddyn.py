"""The twin of FedDyn against the golden values and identities of its definition."""

import numpy as np

from tests.baselines import feddyn_twin, local_training_twin
from tests.baselines.quadratics import BOTH, LR, START, A, B, K, close, golden, quadratic


def feddyn(cohorts, alpha=0.5, **options):
    history = [feddyn_twin.init(START, 2)]
    for cohort in cohorts:
        history.append(
            feddyn_twin.run_round(history[-1], cohort, golden, steps=K, lr=LR, alpha=alpha, **options)
        )
    return history[1:]


def test_feddyn_golden():
    first, second = feddyn([BOTH, BOTH])
    for state, y, shift, avg, theta, h in (
        (first, (0.185, -0.99), (0.185, -0.99), -0.4025, -0.805, 0.20125),
        (second, (-0.4881875, -1.31485), (0.5018125, -1.49985), -0.90151875, -1.4005375, 0.249509375),
    ):
        close(state["last"], y)
        close(state["l"], shift)
        close(state["avg"], avg)
        close(state["theta"], theta)
        close(feddyn_twin.server_h(state, 0.5), h)


def test_feddyn_golden_of_one_client_a_round():
    first, second = feddyn([[0], [1]])
    close(first["theta"], 0.2775)
    close(feddyn_twin.server_h(first, 0.5), -0.04625)
    close(first["last"], (0.185, 0))
    close(second["last"], (0.185, -0.8498625))
    close(second["l"], (0.185, -1.1273625))
    close(second["theta"], -1.32104375)
    close(feddyn_twin.server_h(second, 0.5), 0.235590625)
    models = feddyn_twin.reported(second)
    close(models["cloud"], -1.32104375)
    close(models["avg"], -0.8498625)
    close(models["all"], (0.185 - 0.8498625) / 2)


def test_feddyn_limit_is_the_fixed_point():
    state = feddyn([BOTH] * 400)[-1]
    close(state["theta"], -1.25)
    close(state["l"], (4.5, -4.5))
    close(state["last"], (-1.25, -1.25))
    for k in BOTH:
        close(0.5 * state["l"][k], -golden(k, state["theta"]))


def test_feddyn_limit_of_unequal_clients_minimises_the_weighted_loss():
    omega = np.asarray([0.5, 1.5])
    state = feddyn([BOTH] * 600, omega=omega)[-1]
    close(state["theta"], (omega * A * B).sum() / (omega * A).sum())
    close(state["l"].sum(), 0)


def test_feddyn_without_gradient_states_is_fedprox():
    _, noisy = quadratic(6, 4, 3)
    alpha, x = 0.3, np.ones(3)
    state = feddyn_twin.init(x, 4)
    for cohort in ([0, 1], [2, 3, 0]):
        state = feddyn_twin.run_round(state, cohort, noisy, steps=(1, 2, 3, 4), lr=0.1, alpha=alpha)
        proximal = lambda k, y, step, x=x: noisy(k, y, step) + alpha * (y - x)  # noqa: E731
        x = local_training_twin.fedavg_round(x, cohort, proximal, steps=(1, 2, 3, 4), lr=0.1)
        close(state["avg"], x)
        state = feddyn_twin.init(x, 4)


def test_feddyn_at_zero_alpha_is_not_fedavg():
    state = feddyn([BOTH], alpha=0.0)[-1]
    fedavg = local_training_twin.fedavg_round(START, BOTH, golden, steps=K, lr=LR)
    close(state["avg"], fedavg)
    close(state["theta"], 2 * fedavg)


def test_feddyn_official_form_is_the_papers():
    _, noisy = quadratic(7, 4, 3)
    alpha, steps = 0.3, (1, 2, 3, 4)
    official = feddyn_twin.init(np.ones(3), 4)
    paper = {"theta": np.ones(3), "gradient": np.zeros((4, 3)), "h": np.zeros(3)}
    for cohort in ([0, 1], [2], [3, 0, 1], [0, 1, 2, 3]):
        official = feddyn_twin.run_round(official, cohort, noisy, steps=steps, lr=0.1, alpha=alpha)
        paper = feddyn_twin.paper_round(paper, cohort, noisy, steps=steps, lr=0.1, alpha=alpha)
        close(official["theta"], paper["theta"])
        close(-alpha * official["l"], paper["gradient"])
        close(feddyn_twin.server_h(official, alpha), paper["h"])


def test_feddyn_quadratic_term_escapes_the_clip():
    state = feddyn([[0], [0]], clip_norm=0.5)[0]
    # z: .1 * .5; then the gradient -.95 is cut to -.5 and .5 z is added.
    close(state["avg"], 0.05 + 0.1 * (0.5 - 0.5 * 0.05))
    assert not np.allclose(state["avg"], feddyn([[0]])[0]["avg"])
    decayed = feddyn([[0]], weight_decay=0.1)[0]
    close(decayed["avg"], 0.1 - 0.1 * (-0.9 + 0.6 * 0.1))
