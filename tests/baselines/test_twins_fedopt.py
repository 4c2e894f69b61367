"""Twins of server optimisers against the golden values and identities of their definitions."""

import numpy as np
import pytest

from tests.baselines import fedopt_twin
from tests.baselines.quadratics import close

DELTAS = (np.asarray([0.1, -0.02, 0]), np.asarray([-0.05, 0.02, 0.001]))


@pytest.mark.parametrize(
    ("rule", "b1", "v0", "corrected", "first", "second", "v"),
    [
        (
            "adagrad",
            0.9,
            1e-6,
            False,
            (0.0099005, -0.0095124922, 0),
            (0.0134463519, -0.0088299436, 0.0041421356),
            (0.012501, 0.000801, 2e-6),
        ),
        (
            "adagrad",
            0.0,
            1e-6,
            False,
            (0.0990049999, -0.095124922, 0),
            (0.0546818515, -0.0268700635, 0.0414213562),
            (0.012501, 0.000801, 2e-6),
        ),
        (
            "adam",
            0.9,
            1e-6,
            False,
            (0.0905028312, -0.0618461549, 0),
            (0.123345037, -0.0568336236, 0.0050124366),
            (1.249801e-4, 8.9401e-6, 9.901e-7),
        ),
        (
            "yogi",
            0.9,
            1e-6,
            False,
            (0.0904987562, -0.0618033989, 0),
            (0.1232186671, -0.0568033989, 0.005),
            (1.26e-4, 9e-6, 1e-6),
        ),
        (
            "adam",
            0.9,
            0.0,
            False,
            (0.0909090909, -0.0666666667, 0),
            (0.1238701599, -0.0614329104, 0.0090909091),
            (1.24e-4, 7.96e-6, 1e-8),
        ),
        (
            "yogi",
            0.9,
            0.0,
            False,
            (0.0909090909, -0.0666666667, 0),
            (0.123748897, -0.0614425892, 0.0090909091),
            (1.25e-4, 8e-6, 1e-8),
        ),
        (
            "adam",
            0.9,
            0.0,
            True,
            (0.0909090909, -0.0666666667, 0),
            (0.1153813592, -0.0627808131, 0.0067496344),
            None,
        ),
        (
            "yogi",
            0.9,
            1e-6,
            True,
            (0.0904987562, -0.0618033989, 0),
            (0.1147919743, -0.0580910999, 0.0037122989),
            None,
        ),
    ],
)
def test_adaptive_golden(rule, b1, v0, corrected, first, second, v):
    state = fedopt_twin.init(np.zeros(3), v0)
    for delta, x in zip(DELTAS, (first, second), strict=True):
        state = fedopt_twin.adaptive_round(
            state, delta, rule=rule, lr=0.1, b1=b1, b2=0.99, tau=1e-3, bias_correction=corrected
        )
        close(state["x"], x, 10)
    if v is not None:
        close(state["v"], v)


def test_variants_differ_in_where_v_starts():
    starts = {key: fedopt_twin.first_v(*key, tau=1e-3) for key in fedopt_twin.DEFAULTS}
    assert starts["paper", "yogi"] == 1e-6
    assert starts["flower", "yogi"] == starts["tff", "adam"] == 0
    assert starts["tff", "yogi"] == 1e-6
    assert starts["keras-yogi", "yogi"] == 1
    assert starts["tff", "adagrad"] == 0.1


def test_tff_adagrad_keeps_no_momentum_and_has_tau_inside_the_root():
    state = fedopt_twin.init(np.zeros(3), 0.25)
    for delta in DELTAS:
        state = fedopt_twin.tff_adagrad_round(state, delta, lr=0.1, tau=0.01)
    close(state["x"][2], 0.1 * 0.001 / np.sqrt(0.25 + 1e-6 + 0.01))
    close(state["x"][0], 0.1 * (0.1 / np.sqrt(0.27) - 0.05 / np.sqrt(0.2725)))
    np.testing.assert_array_equal(state["m"], 0)


def test_fedavgm_golden_and_its_identity():
    state = fedopt_twin.init(np.zeros(3))
    for delta in DELTAS:
        state = fedopt_twin.momentum_round(state, delta, lr=1.0, beta=0.9)
    close(state["x"], (0.14, -0.018, 0.001))
    plain = fedopt_twin.momentum_round(fedopt_twin.init(np.ones(3)), DELTAS[0], lr=1.0, beta=0.0)
    close(plain["x"], np.ones(3) + DELTAS[0])


@pytest.mark.parametrize("rule", ["adagrad", "adam", "yogi"])
def test_adaptive_with_a_huge_tau_is_fedavg(rule):
    big = {"rule": rule, "lr": 1e8, "b1": 0.0, "b2": 0.99, "tau": 1e8}
    state = fedopt_twin.adaptive_round(fedopt_twin.init(np.zeros(3)), DELTAS[0], **big)
    np.testing.assert_allclose(state["x"], DELTAS[0], rtol=2e-8, atol=0)
    half = fedopt_twin.adaptive_round(fedopt_twin.init(np.zeros(3), 1e16), DELTAS[0], **big)
    np.testing.assert_allclose(half["x"], DELTAS[0] / 2, rtol=2e-2 if rule == "adam" else 2e-8, atol=0)


def test_server_momentum_does_not_move_pruned_coordinates_under_a_mask():
    state = fedopt_twin.momentum_round(fedopt_twin.init(np.zeros(3)), DELTAS[0], lr=1.0, beta=0.9)
    mask = np.asarray([0.0, 1.0, 1.0])
    masked = fedopt_twin.momentum_round(state, DELTAS[1] * mask, lr=1.0, beta=0.9, mask=mask)
    later = fedopt_twin.momentum_round(masked, DELTAS[1] * mask, lr=1.0, beta=0.9)
    assert masked["x"][0] == later["x"][0] == 0
    loose = fedopt_twin.momentum_round(state, DELTAS[1] * mask, lr=1.0, beta=0.9)
    assert loose["x"][0] != 0
