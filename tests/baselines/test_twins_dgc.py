"""The twin of Deep Gradient Compression against the golden values and identities of its definition."""

import numpy as np
import pytest

from tests.baselines import dgc_twin as twin
from tests.baselines import fedopt_twin
from tests.baselines.quadratics import close

G = np.asarray([[1, 0.2, -0.5, 0.1, 0], [0.1, 0.6, -0.4, 0.2, 0.05], [0.2, 0.1, -0.1, 0.3, 0.05]])


@pytest.mark.parametrize(
    ("masking", "sent", "u_end", "v_end"),
    [
        (
            True,
            [(0, 1), (2, -1.35), (1, 1.782)],
            (0.29, 0, -0.1, 0.561, 0.095),
            (0.39, 0, -0.1, 0.951, 0.145),
        ),
        (
            False,
            [(0, 1), (2, -1.35), (0, 2.1)],
            (1.1, 0.802, -0.865, 0.561, 0.095),
            (0, 1.782, -0.865, 0.951, 0.145),
        ),
    ],
)
def test_dgc_golden(masking, sent, u_end, v_end):
    u = v = np.zeros(5)
    for g, (index, value) in zip(G, sent, strict=True):
        u, v = twin.accumulate(u, v, g, 0.9)
        message, u, v = twin.compress(u, v, twin.largest(v, 1), masking=masking)
        close(message, value * np.eye(5)[index])
    close(u, u_end)
    close(v, v_end)


def test_dgc_golden_in_rounds():
    state = twin.init([np.zeros((1, 5))], 1)
    for g in G:
        state, _ = twin.run_round(state, [0], {0: [-g[None]]}, ratio=0.2, momentum=0.9)
    close(state["u"][0][0], (0.29, 0, -0.1, 0.561, 0.095))
    close(state["x"][0], (-1, -1.782, 1.35, 0, 0))


def test_dgc_nesterov_golden():
    u = v = np.zeros(2)
    for g in np.asarray([[1, -2], [0.5, 1]]):
        u, v = twin.accumulate(u, v, g, 0.9, nesterov=True)
    close(u, (1.26, -0.72))
    close(v, (3.66, -3.52))


def test_dgc_warm_up_golden():
    ratios = lambda w: [twin.warm_up_ratio(0.001, e, w) for e in range(w + 2)]  # noqa: E731
    close(ratios(4), (0.251189, 0.0630957, 0.0158489, 0.00398107, 0.001, 0.001), 6)
    close(ratios(5), (0.316228, 0.1, 0.0316228, 0.01, 0.00316228, 0.001, 0.001), 6)
    assert twin.warm_up_ratio(0.001, 0, -1) == 0.001


def test_dgc_without_momentum_is_top_k_with_error_feedback():
    rng = np.random.default_rng(0)
    state, e, x = twin.init([np.zeros((2, 4))], 3), np.zeros((3, 8)), np.zeros(8)
    for cohort in ([0, 1], [2], [0, 2], [0, 1, 2]):
        deltas = {k: [rng.normal(size=(2, 4))] for k in cohort}
        state, sent = twin.run_round(state, cohort, deltas, ratio=0.25, momentum=0.0)
        for k in cohort:
            u = e[k] + deltas[k][0].ravel()
            top = np.argsort(-np.abs(u), kind="stable")[:2]
            message = np.zeros(8)
            message[top] = u[top]
            e[k] = u - message
            x = x + message / len(cohort)
            close(sent[k][0], -message)
        close(state["x"][0], x)


def test_dgc_ratio_one_is_fedavgm():
    rng = np.random.default_rng(1)
    state, fedavgm = twin.init([np.zeros((2, 3))], 3), fedopt_twin.init(np.zeros(6))
    for cohort in ([0, 1], [2], [0, 2], [0, 1, 2]):
        deltas = {k: [rng.normal(size=(2, 3))] for k in cohort}
        state, _ = twin.run_round(state, cohort, deltas, ratio=1.0, momentum=0.9)
        delta = np.mean([deltas[k][0].ravel() for k in cohort], axis=0)
        fedavgm = fedopt_twin.momentum_round(fedavgm, delta, lr=1.0, beta=0.9)
        close(state["x"][0], fedavgm["x"])


@pytest.mark.parametrize(("masking", "last"), [(False, 0.81 * G[0] + 0.9 * G[1] + G[2]), (True, G[2])])
def test_dgc_that_sends_everything_has_momentum_only_without_masking(masking, last):
    u = v = message = np.zeros(5)
    for g in G:
        u, v = twin.accumulate(u, v, g, 0.9)
        message, u, v = twin.compress(u, v, range(5), masking=masking)
    close(message, last)


def test_dgc_tensors_of_one_dimension_go_dense_with_the_servers_momentum():
    shapes = [(2, 5), (3,)]
    state = twin.init([np.zeros(shape) for shape in shapes], 2)
    for cohort in ([0], [1]):
        deltas = {k: [np.ones(shape) for shape in shapes] for k in cohort}
        state, _ = twin.run_round(state, cohort, deltas, ratio=0.1, momentum=0.5)
    close(state["x"][1], [1 + 1.5] * 3)
    assert np.count_nonzero(state["x"][0]) == 1, "one entry of ten, the same of both clients"
    assert twin.upload_bytes(shapes, 0.1) == 1 * 8 + 3 * 4
    assert twin.upload_bytes(shapes, 1.0) == 13 * 4


def test_dgc_means_are_weighted_by_counts():
    state, deltas = twin.init([np.zeros((1, 5)), np.zeros(5)], 2), {k: [-G[k][None], -G[k]] for k in (0, 1)}
    state, _ = twin.run_round(state, (0, 1), deltas, ratio=0.2, momentum=0.9, counts=(1, 3))
    close(state["x"][0], (-0.25, -0.45, 0, 0, 0))
    close(state["x"][1], -0.25 * G[0] - 0.75 * G[1])


def test_dgc_conserves_what_velocity_takes_in():
    rng = np.random.default_rng(2)
    u = v = total = sent = np.zeros(20)
    for g in rng.normal(size=(10, 20)):
        u, v = twin.accumulate(u, v, g, 0.9)
        total = total + u
        message, u, v = twin.compress(u, v, twin.largest(v, 3))
        sent = sent + message
    close(sent + v, total)


def test_dgc_the_absent_keep_their_momentum():
    state = twin.init([np.zeros((1, 5))], 2)
    state, _ = twin.run_round(state, [0], {0: [-G[:1]]}, ratio=0.2, momentum=0.9)
    after, _ = twin.run_round(state, [1], {1: [-G[1:2]]}, ratio=0.2, momentum=0.9)
    assert after["u"][0] is state["u"][0]
    assert after["v"][0] is state["v"][0]


def test_dgc_decay_has_momentum_of_its_own_after_compression():
    x = [np.full((1, 2), 2.0)]
    start, nothing = twin.init(x, 1), {0: [np.zeros((1, 2))]}

    def step(state, nesterov=False):
        return twin.run_round(
            state, [0], nothing, ratio=0.5, momentum=0.5, lr=0.1, nesterov=nesterov, weight_decay=0.1
        )

    one, sent = step(start)
    close(one["x"][0], [1.98] * 2)
    assert not np.any(sent[0][0])
    close(step(one)[0]["x"][0], [1.98 - 0.1 * (0.5 * 0.2 + 0.198)] * 2)
    close(step(start, nesterov=True)[0]["x"][0], [2 - 0.1 * (0.2 + 0.5 * 0.2)] * 2)


def test_dgc_sampled_selection_accepts_resamples_and_lowers():
    v = np.arange(100.0, 0, -1)
    exact = twin.largest(v, 10)
    assert twin.sampled_largest(v, 10, 0.1, range(100)) == exact
    # The largest of the first ten of the sample is 91: ten entries pass.
    assert twin.sampled_largest(v, 10, 0.1, range(9, 19)) == exact
    # A threshold of 90 lets 11 pass, within 1.3 k: the first ten in index order stay.
    rising = v[::-1]
    assert twin.sampled_largest(rising, 10, 0.1, range(80, 90)) == list(range(89, 99))
    # 70 lets 31 pass: exact top-k of them.
    assert twin.sampled_largest(rising, 10, 0.1, range(60, 70)) == list(range(90, 100))
    # 100 lets one pass, .8 of it twelve.
    steps = np.asarray([60.0] * 88 + [*range(81, 92)] + [100.0])
    assert twin.sampled_largest(steps, 10, 0.1, [*range(9), 99]) == list(range(88, 98))


def test_dgc_sampled_selection_gives_up_after_ten_reductions():
    v = np.concatenate([[1e9], np.ones(99)])
    assert twin.sampled_largest(v, 10, 0.1, range(10)) == [0]
