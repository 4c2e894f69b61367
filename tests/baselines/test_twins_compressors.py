"""Twins of random-k, EF-signSGD and QSGD against the golden values and identities of their definitions."""

from itertools import combinations, product

import numpy as np
import pytest

from tests.baselines import compressors_twin as twin
from tests.baselines.quadratics import close

U = np.asarray([3, -1, 2, 0.5, -4, 0])
SHAPES = ((2, 3), (4,))


def tensors(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(size=shape) for shape in SHAPES]


# Random-k.


def test_random_k_golden_over_all_subsets():
    subsets = list(combinations(range(6), 2))
    assert len(subsets) == 15
    assert U @ U == 30.25
    scaled = np.asarray([twin.random_k(U, s, scaled=True) for s in subsets])
    close(scaled.mean(axis=0), U)
    close(((scaled - U) ** 2).sum(axis=1).mean(), 60.5)
    plain = np.asarray([twin.random_k(U, s, scaled=False) for s in subsets])
    close(plain.mean(axis=0), U / 3)
    close(((plain - U) ** 2).sum(axis=1).mean(), 20.1666667, 7)
    close(((plain - U) ** 2).sum(axis=1).mean(), (1 - 2 / 6) * 30.25)


def test_random_k_bytes():
    assert twin.random_k_bytes(1000, 10) == 48
    assert twin.random_k_bytes(1000, 10, derived_seed=True) == 40
    assert twin.random_k_bytes(1000, 10, explicit=True) == 10 * (4 + 10 / 8)
    assert [twin.grace_k(d, 0.01) for d in (10, 100, 199, 200)] == [1, 1, 1, 2]


def test_a_common_mask_keeps_the_servers_update_sparse():
    rng = np.random.default_rng(0)
    deltas = {k: [rng.normal(size=6)] for k in range(3)}
    state = {"x": [np.zeros(6)], "e": [[np.zeros(6)]] * 3}
    own = [[0, 1], [2, 3], [4, 5]]
    for indices, nonzero in (([[0, 3]] * 3, 2), (own, 6)):
        compress = twin.per_tensor(lambda k, u, indices=indices: twin.random_k(u, indices[k], scaled=True))
        after, _ = twin.run_round(state, range(3), deltas, compress, feedback=False)
        assert np.count_nonzero(after["x"][0]) == nonzero


# Signs.


def test_ef_signsgd_golden():
    u1, u2 = np.asarray([0.4, -0.1, 0.05, 0]), np.asarray([0.1, 0.3, -0.2, 0.02])
    sign = twin.sign_of_zero_is_zero
    sent = twin.scaled_sign(u1, sign)
    close(sent, (0.1375, -0.1375, 0.1375, 0))
    e = u1 - sent
    close(e, (0.2625, 0.0375, -0.0875, 0))
    close(e + u2, (0.3625, 0.3375, -0.2875, 0.02))
    sent = twin.scaled_sign(e + u2, sign)
    close(np.abs(sent), [0.251875] * 4)
    close(e + u2 - sent, (0.110625, 0.085625, -0.035625, -0.231875))
    close(np.abs(u1).sum() ** 2 / (4 * u1 @ u1), 0.4384057971, 10)


def test_scaled_sign_contracts_by_the_density_of_its_argument():
    p = np.random.default_rng(1).normal(size=7)
    error = twin.scaled_sign(p) - p
    close(error @ error / (p @ p), 1 - np.abs(p).sum() ** 2 / (7 * p @ p))


def test_one_bit_counts_zero_as_plus():
    zero = np.asarray([0.0, -0.0, -1.0])
    np.testing.assert_array_equal(twin.sign_of_zero_is_plus(zero), [1, 1, -1])
    np.testing.assert_array_equal(twin.sign_of_zero_is_zero(zero), [0, 0, -1])
    assert twin.scaled_sign_bits([6, 4]) == 10 + 64


def test_the_official_ef_step_is_the_federated_one():
    rng = np.random.default_rng(2)
    x, e, lr = np.zeros(5), np.zeros(5), 0.1
    state = {"x": [x], "e": [[e]]}
    compress = twin.per_tensor(lambda k, u: twin.scaled_sign(u, twin.sign_of_zero_is_zero))
    for g in rng.normal(size=(4, 5)):
        x, e = twin.ef_sgd_step(x, e, g, lr, twin.sign_of_zero_is_zero, scale=True)
        state, _ = twin.run_round(state, [0], {0: [-lr * g]}, compress, feedback=True)
        close(state["x"][0], x)
        close(state["e"][0][0], -e)
    unscaled, rest = twin.ef_sgd_step(np.zeros(2), np.zeros(2), np.asarray([1, -3]), lr, np.sign, scale=False)
    close(unscaled, (-0.1, 0.1))
    close(rest, (0, -0.2))


def test_grace_forgets_the_step_size_of_its_first_call():
    g = [np.asarray([1.0, -3.0]), np.asarray([2.0, 2.0])]
    residuals, total = twin.grace_ef_signsgd([None, None], g, lr=0.5)
    close(total, (8, 0))
    close(residuals, [[-1, -1], [0, 0]])
    # p = (-.5, -2.5) and (1, 1): scales 1.5 and 1.
    residuals, total = twin.grace_ef_signsgd([*residuals], g, lr=0.5)
    close(total, (-1, -1))
    close(residuals, [[1, -1], [0, 0]])


def test_majority_vote():
    deltas = [np.asarray(d) for d in ((1.0, -1.0, 2.0), (0.1, -5.0, -1.0), (-9.0, 1.0, -0.1))]
    close(twin.majority_vote(np.ones(3), deltas, 0.5), (1.5, 0.5, 0.5))
    tie = twin.majority_vote(np.zeros(1), [np.ones(1), -np.ones(1)], 0.5)
    close(tie, 0.5)
    close(twin.majority_vote(np.zeros(1), [np.ones(1), -np.ones(1)], 0.5, np.sign), 0)


# QSGD.


def every_rounding(u, s, norm):
    """Each outcome of D(C(u)) and its probability, by draws on both sides of every fraction."""
    r = s * np.abs(u) / norm(u)
    p = r - np.floor(r)
    for ups in product((False, True), repeat=len(u)):
        draws = np.where(ups, 0.0, 1 - 1e-12)
        yield twin.qsgd(u, s, draws, norm), float(np.prod(np.where(ups, p, 1 - p)))


@pytest.mark.parametrize(
    ("s", "norm", "variance", "nonzero", "bits"),
    [(4, twin.l2, 1.71875, 4.0909, 56), (1, twin.l2, 27.5, 1.9091, 44), (4, twin.largest, 0.25, None, 56)],
)
def test_qsgd_golden(s, norm, variance, nonzero, bits):
    outcomes = [(q, p) for q, p in every_rounding(U, s, norm) if p > 0]
    close(sum(p for _, p in outcomes), 1)
    close(sum(p * q for q, p in outcomes), U)
    close(sum(p * ((q - U) @ (q - U)) for q, p in outcomes), variance)
    close(sum(p * np.count_nonzero(q) for q, p in outcomes), twin.qsgd_moments(U, s, norm)[1])
    close(twin.qsgd_moments(U, s, norm)[0], variance)
    if nonzero is not None:
        close(twin.qsgd_moments(U, s)[1], nonzero, 4)
    assert twin.fixed_bits(6, s) == bits


def test_qsgd_ratios_and_bounds():
    close(4 * np.abs(U) / twin.l2(U), (2.1818, 0.7273, 1.4545, 0.3636, 2.9091, 0), 4)
    assert min(6 / 4**2, np.sqrt(6) / 4) * 30.25 == 11.34375
    u = np.random.default_rng(3).normal(size=50)
    for s in (1, 2, 4, 16):
        variance, nonzero = twin.qsgd_moments(u, s)
        assert variance <= min(50 / s**2, np.sqrt(50) / s) * (u @ u)
        assert nonzero <= s * (s + np.sqrt(50))


def test_qsgd_elias_lengths_and_bits_of_levels():
    numbers = (1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 100, 1000)
    assert [twin.elias(n) for n in numbers] == [1, 3, 3, 6, 6, 7, 7, 11, 11, 12, 13, 17]
    levels = np.asarray([3, 0, -1, 0, 0, 2])
    assert twin.elias_sparse_bits(levels) == 49
    assert twin.elias_dense_bits(levels) == 50


def test_qsgd_sends_zeros_as_zeros_and_whole_ratios_as_they_are():
    np.testing.assert_array_equal(twin.qsgd(np.zeros(3), 4, np.zeros(3)), 0)
    close(twin.qsgd(np.asarray([3.0, -4.0]), 5, np.zeros(2)), (3, -4))
    fine = twin.qsgd(U, 2**40, np.full(6, 0.5))
    close(fine, U, 10)


def test_qsgd_buckets_have_their_own_norm():
    draws = np.random.default_rng(4).uniform(size=6)
    parts = [twin.qsgd(U[:4], 4, draws[:4]), twin.qsgd(U[4:], 4, draws[4:])]
    np.testing.assert_array_equal(twin.qsgd(U, 4, draws, bucket=4), np.concatenate(parts))
    assert twin.fixed_bits(6, 4, bucket=4) == 2 * 32 + 24


# Any compressor.


def test_no_compression_is_fedavg_with_and_without_feedback():
    rng = np.random.default_rng(5)
    deltas, x, counts = {k: tensors(rng) for k in (0, 2)}, tensors(rng), (1, 5, 3)
    zeros = [[np.zeros(shape) for shape in SHAPES]] * 3
    everything = lambda k, u: twin.random_k(u.ravel(), range(u.size), scaled=True).reshape(u.shape)  # noqa: E731
    for around, feedback in product((twin.per_tensor, twin.flat), (True, False)):
        state = {"x": x, "e": zeros}
        after, _ = twin.run_round(state, (0, 2), deltas, around(everything), counts=counts, feedback=feedback)
        for i, t in enumerate(x):
            close(after["x"][i], t + 0.25 * deltas[0][i] + 0.75 * deltas[2][i])


def test_what_was_sent_and_what_is_left_is_what_came_and_the_absent_wait():
    rng = np.random.default_rng(6)
    state = {"x": tensors(rng), "e": [[np.zeros(shape) for shape in SHAPES]] * 3}
    came, went = np.zeros((3, 10)), np.zeros((3, 10))
    flatten = lambda ts: np.concatenate([t.ravel() for t in ts])  # noqa: E731
    for cohort in ([0, 1], [2], [0, 2], [0, 1, 2]):
        deltas = {k: tensors(rng) for k in cohort}
        before = state["e"]
        state, sent = twin.run_round(
            state, cohort, deltas, twin.flat(lambda k, u: twin.scaled_sign(u)), feedback=True
        )
        for k in range(3):
            if k not in cohort:
                assert state["e"][k] is before[k]
                continue
            came[k] += flatten(deltas[k])
            went[k] += flatten(sent[k])
    close(went + [flatten(e) for e in state["e"]], came)


def test_flat_and_per_tensor_differ_where_tensors_do():
    small = [np.ones((2, 2)), np.asarray([9.0, -9.0])]
    sign = lambda k, u: twin.scaled_sign(u)  # noqa: E731
    close(np.concatenate([t.ravel() for t in twin.per_tensor(sign)(0, small)]), (1, 1, 1, 1, 9, -9))
    flat = twin.flat(sign)(0, small)
    close(np.concatenate([t.ravel() for t in flat]), np.asarray((1, 1, 1, 1, 1, -1)) * 22 / 6)
    assert flat[0].shape == (2, 2)
