"""Means and votes against numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.server import aggregation


def test_weighted_mean():
    weight = jnp.asarray([1.0, 2.0, 3.0])
    total = {"w": jnp.sum(weight * jnp.asarray([1.0, 2.0, 3.0]))}  # w_k = k, n_k = k
    np.testing.assert_allclose(aggregation.weighted_mean(total, weight)["w"], 14 / 6, rtol=1e-6)


def test_nobody_came():
    assert aggregation.weighted_mean({"w": jnp.zeros(2)}, jnp.zeros(3))["w"].tolist() == [0, 0]


def test_zeros_count_in_a_mean_but_not_in_one_over_holders():
    weight = jnp.ones(2)  # two clients with values (2, 0) and masks (1, 0)
    assert aggregation.weighted_mean({"w": jnp.asarray([2.0])}, weight)["w"] == 1
    total, holders = {"w": jnp.asarray([2.0, 0.0])}, {"w": jnp.asarray([1.0, 0.0])}
    assert aggregation.mean_over_holders(total, holders)["w"].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("participants", "votes", "minority", "majority"),
    [
        (4, [4, 3, 2, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]),
        (5, [5, 4, 3, 2, 1, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0]),
        (3, [3, 2, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0]),
    ],
)
def test_votes(participants, votes, minority, majority):
    """floor(K / 2) keeps with a minority when K is odd; ceil(K / 2) does not."""
    counts = {"w": jnp.asarray(votes)}
    assert aggregation.vote(counts, participants // 2)["w"].tolist() == [bool(v) for v in minority]
    assert aggregation.vote(counts, -(-participants // 2))["w"].tolist() == [bool(v) for v in majority]
