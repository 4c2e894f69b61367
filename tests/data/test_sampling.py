"""Sampling: the law of each scheme, statelessness, the order of places."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.data import sampling
from fedjax_sparse.errors import UsageError

SCHEMES = ["uniform", "weighted", "bernoulli", "3-of-4"]


def make(participation="uniform", clients=10, cohort_size=4, sizes=None, dropout=0.0):
    sizes = np.arange(1, clients + 1) if sizes is None else sizes
    return sampling.make(
        participation, clients=clients, cohort_size=cohort_size, sizes=sizes, dropout=dropout
    )


def draws(sampler, rounds, seed=0):
    """Ids and presence of many rounds, [rounds, C] each."""
    ids, present = zip(*(sampler.draw(seed, t) for t in range(1, rounds + 1)), strict=True)
    return np.stack(ids), np.stack(present)


@given(
    st.sampled_from(SCHEMES),
    st.integers(4, 30),
    st.floats(0, 0.99),
    st.integers(0, 2**63),
    st.integers(0, 10**6),
)
def test_a_cohort_is_distinct_clients_in_order(scheme, clients, dropout, seed, t):
    sizes = np.random.default_rng(clients).integers(1, 6, clients).astype(np.uint16)
    sampler = make(scheme, clients, 4, sizes, dropout if scheme != "3-of-4" else 0.0)
    ids, present = sampler.draw(seed, t)
    assert ids.shape == present.shape == (sampler.capacity,)
    assert (ids.dtype, present.dtype) == (np.int32, bool)
    invited = ids[ids < clients]
    assert len(set(invited.tolist())) == len(invited)
    assert np.all(ids[len(invited) :] == clients)
    # Those that answer, then those that do not, each by size from the largest; empty places come last.
    answering = int(present.sum())
    assert present[:answering].all()
    assert answering <= len(invited)
    for group in (ids[:answering], ids[answering : len(invited)]):
        assert np.all(np.diff(sizes[group].astype(int)) <= 0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_round_is_drawn_alone_and_again(scheme):
    sampler = make(scheme, clients=50)
    ids, present = draws(sampler, 6)
    alone = make(scheme, clients=50).draw(0, 5)
    assert np.array_equal(alone[0], ids[4])
    assert np.array_equal(alone[1], present[4])
    assert len({tuple(sorted(row)) for row in ids.tolist()}) > 1
    assert not np.array_equal(sampler.draw(1, 5)[0], ids[4])


def test_uniform_invites_every_subset_equally_often():
    ids, present = draws(make(clients=5, cohort_size=2), 5000)
    assert present.all()
    subsets = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for row in np.sort(ids, axis=1).tolist():
        subsets[tuple(row)] += 1
    # 500 each, sd 21: five of them.
    assert max(abs(count - 500) for count in subsets.values()) < 106


def test_weighted_is_successive_sampling():
    sizes = np.array([1, 2, 5])
    ids, _ = draws(make("weighted", 3, 2, sizes), 5000)
    share = sizes / sizes.sum()
    for left_out in range(3):
        a, b = (i for i in range(3) if i != left_out)
        expected = share[a] * share[b] / (1 - share[a]) + share[b] * share[a] / (1 - share[b])
        assert abs(np.mean(~np.any(ids == left_out, axis=1)) - expected) < 0.036  # five standard deviations


def test_bernoulli_is_independent_between_clients():
    clients, cohort_size = 20, 4
    sampler = make("bernoulli", clients, cohort_size)
    ids, present = draws(sampler, 4000)
    assert np.array_equal(present, ids < clients)
    number = present.sum(axis=1)
    assert number.min() == 0  # a chance of 0.8**20 = 1.2%: empty rounds are part of the scheme
    assert abs(number.mean() - 4) < 0.15
    assert abs(number.var() - 20 * 0.2 * 0.8) < 0.4
    often = np.bincount(ids.ravel(), minlength=clients + 1)[:clients] / 4000
    assert np.abs(often - 0.2).max() < 0.032


@pytest.mark.parametrize(("clients", "cohort_size"), [(100, 10), (1000, 10), (300, 150), (40, 1)])
def test_bernoulli_places_are_the_fewest_that_suffice(clients, cohort_size):
    places, q = make("bernoulli", clients, cohort_size).capacity, cohort_size / clients

    def exceeds(c):
        return sum(math.comb(clients, k) * q**k * (1 - q) ** (clients - k) for k in range(c + 1, clients + 1))

    assert exceeds(places) <= sampling.OVERFLOW < exceeds(places - 1)


def test_bernoulli_with_everyone():
    sampler = make("bernoulli", 6, 6)
    assert sampler.capacity == 6
    assert sampler.draw(0, 1)[1].all()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"participation": "weighted"}, True),
        ({"participation": "bernoulli"}, True),
        ({"participation": "6-of-6"}, True),
        ({"sizes": np.array([9, 9, 5, 4, 4, 1])}, True),
        ({"sizes": np.array([9, 9, 5, 4, 5, 1])}, False),
        ({"participation": "5-of-6"}, False),
        ({"cohort_size": 5}, False),
        ({"dropout": 0.1}, False),
    ],
)
def test_it_knows_whether_every_cohort_is_everyone_in_order(options, expected):
    sampler = make(**{"clients": 6, "cohort_size": 6, "sizes": np.full(6, 7)} | options)
    assert sampler.in_order == expected
    ids, present = draws(sampler, 50)
    assert (present.all() and np.all(ids == np.arange(6)[: ids.shape[1]])) == expected


def test_k_of_n_is_exact_and_fair():
    ids, present = draws(make("7-of-10", clients=12, cohort_size=10), 3000)
    assert np.all(ids < 12)
    assert np.all(present.sum(axis=1) == 7)
    answered = np.bincount(ids[present], minlength=12) / 3000
    assert np.abs(answered - 7 / 12).max() < 0.045


def test_dropout_strikes_independently():
    ids, present = draws(make(clients=10, cohort_size=4, dropout=0.25), 4000)
    number = present.sum(axis=1)
    assert np.all(ids < 10)  # who drops out was still invited
    assert abs(number.mean() - 3) < 0.07
    assert abs(number.var() - 4 * 0.25 * 0.75) < 0.09
    answered = np.bincount(ids[present], minlength=10) / np.bincount(ids.ravel(), minlength=10)
    assert np.abs(answered - 0.75).max() < 0.055


@pytest.mark.parametrize("scheme", SCHEMES[:3])
def test_a_hundred_thousand_clients(scheme):
    ids, present = make(scheme, clients=100_000, cohort_size=100).draw(0, 1)
    assert 50 < np.count_nonzero(present) < 150
    assert len(np.unique(ids[present])) == present.sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cohort_size": 11}, r"cohort_size = 11 is out of range; allowed: \[1, 10\]"),
        ({"cohort_size": 0}, "cohort_size = 0"),
        ({"dropout": 1.0}, r"dropout = 1.0 is out of range; allowed: \[0, 1\)"),
        ({"dropout": -0.1}, "dropout = -0.1"),
        ({"participation": "wieghted"}, "did you mean 'weighted'"),
        ({"participation": "k-of-n"}, r"allowed: k-of-4 \(the cohort size\) with k in \[1, 4\]"),
        ({"participation": "3-of-5"}, "allowed: k-of-4"),
        ({"participation": "5-of-4"}, "allowed: k-of-4"),
        ({"participation": "0-of-4"}, "allowed: k-of-4"),
        (
            {"participation": "3-of-4", "dropout": 0.1},
            "dropout = 0.1 with participation '3-of-4'; allowed: 0",
        ),
    ],
)
def test_refusals(options, message):
    with pytest.raises(UsageError, match=message):
        make(**options)
