"""Partitions: disjoint, covering, seeded, and right in their limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_sparse.data import dealing, partition
from fedjax_sparse.errors import UsageError

BALANCED = np.repeat(np.arange(10), 60)
OPTIONS = {"alpha": 0.5, "classes_per_client": 2, "client_train": None}


def make(name, labels, clients, seed=0, **options):
    return partition.make(name, labels, clients, seed=seed, **(OPTIONS | options))


def sizes(parts):
    return np.array([len(rows) for rows in parts])


def assert_deals_out(parts, clients, rows):
    """Every client has something, and each of `rows` is with exactly one client."""
    assert len(parts) == clients
    assert sizes(parts).min() >= 1
    assert np.array_equal(np.sort(np.concatenate(parts)), rows)
    assert all(np.all(np.diff(part) > 0) for part in parts)


@st.composite
def problems(draw):
    """Labels with gaps in their numbers and uneven classes, and a number of clients that they suffice for."""
    class_sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    labels = np.repeat(3 * np.arange(len(class_sizes)) + 1, class_sizes)
    labels = np.random.default_rng(draw(st.integers(0, 99))).permutation(labels).astype(np.int32)
    return labels, draw(st.integers(1, len(labels)))


@given(problems(), st.sampled_from(sorted(partition.PARTITIONS)), st.integers(0, 2**32), st.floats(1e-3, 1e3))
@settings(max_examples=300)
def test_every_rule_deals_out_all_examples(problem, name, seed, alpha):
    labels, clients = problem
    owners = np.arange(len(labels)) % clients
    try:
        parts = make(name, labels, clients, seed, alpha=alpha, classes_per_client=1, client_train=owners)
    except UsageError:
        if name not in ("dirichlet", "classes"):  # the two rules that not every request can follow
            raise
    else:
        assert_deals_out(parts, clients, np.arange(len(labels)))


@given(problems(), st.integers(0, 100), st.floats(1e-320, 1e9))
@settings(max_examples=100)
def test_equal_sizes(problem, seed, alpha):
    labels, clients = problem
    for name in ("iid", "consecutive", "dirichlet-by-class", "dirichlet-by-turns"):
        assert np.ptp(sizes(make(name, labels, clients, seed, alpha=alpha))) <= 1


@pytest.mark.parametrize("name", sorted(set(partition.PARTITIONS) - {"consecutive"}))
def test_seed_alone_decides(name):
    owners = np.arange(600) // 5
    first, again, other = (make(name, BALANCED, 20, seed, client_train=owners) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_global_random_state_plays_no_part():
    rows = []
    for global_seed in (0, 1):
        np.random.seed(global_seed)  # noqa: NPY002
        rows.append([np.concatenate(make(name, BALANCED, 10)) for name in ("dirichlet", "shards", "iid")])
    assert np.array_equal(*rows)


# Limits of the Dirichlet rules.


def test_dirichlet_with_large_alpha_spreads_each_class_evenly():
    counts = partition.class_counts(make("dirichlet", BALANCED, 6, alpha=1e6), BALANCED, 10)
    assert np.all(np.abs(counts - 10) <= 1)


def test_dirichlet_with_small_alpha_gives_each_class_to_one_client():
    counts = partition.class_counts(make("dirichlet", BALANCED, 3, alpha=1e-6), BALANCED, 10)
    assert np.all(np.sort(counts, axis=0)[:-1] == 0)


def test_dirichlet_shares_have_the_variance_of_their_law():
    """A share is Beta(alpha, (N - 1) alpha); with 2 clients its variance is 1 / (4 (2 alpha + 1))."""
    labels, alpha = np.repeat(np.arange(2000), 100), 0.7
    shares = partition.class_counts(make("dirichlet", labels, 2, alpha=alpha), labels, 2000)[0] / 100
    assert abs(shares.mean() - 0.5) < 0.03
    assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_dirichlet_min_size_holds():
    parts = partition.dirichlet(BALANCED, 10, 0, alpha=0.3, min_size=20)
    assert_deals_out(parts, 10, np.arange(600))
    assert sizes(parts).min() >= 20


def test_dirichlet_by_class_with_large_alpha_is_balanced():
    """Multinomial draws from the uniform mixture: 100 examples a client, 10 of each class, sd 3.

    The median leaves aside the last clients, who hold what is left.
    """
    labels = np.repeat(np.arange(10), 1000)
    counts = partition.class_counts(make("dirichlet-by-class", labels, 100, alpha=1e6), labels, 10)
    assert abs(np.median(counts.std(axis=1)) - 3) < 0.3


def test_dirichlet_by_class_with_small_alpha_gives_one_class_until_classes_run_out():
    """Two clients ask for 50 of four classes of 25: two whole classes for the first, the others for the second."""
    labels = np.tile(np.arange(4), 25)
    counts = partition.class_counts(make("dirichlet-by-class", labels, 2, alpha=1e-6), labels, 4)
    assert np.array_equal(np.sort(counts, axis=1), [[0, 0, 25, 25]] * 2)


def test_dirichlet_by_class_with_small_alpha_and_enough_of_each_class():
    """Ten clients of 100 examples share two classes of 500: at most one client can meet the end of its class."""
    labels = np.repeat(np.arange(2), 500)
    for seed in range(10):
        counts = partition.class_counts(make("dirichlet-by-class", labels, 10, seed, alpha=1e-6), labels, 2)
        assert np.array_equal(np.sort(counts, axis=1), [[0, 100]] * 10)


def test_dirichlet_by_class_mixtures_have_the_variance_of_their_law():
    """Two classes that cannot run out: shares are Beta(alpha, alpha), with the multinomial's variance on top."""
    alpha, size, rng = 0.7, 50, np.random.default_rng(0)
    left = np.array([size, size])
    mixtures = rng.dirichlet([alpha, alpha], size=4000)
    taken = [dealing._draw_without_replacement(mixture, size, left, alpha, rng)[0] for mixture in mixtures]
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(np.var(np.array(taken) / size) - (variance + (0.25 - variance) / size)) < 0.008


def test_drawing_in_turns_lets_all_clients_feel_alike_that_a_class_has_run_out():
    """One after another the last client of each draw is left with what nobody wanted."""
    labels = np.repeat(np.arange(10), 500)
    entropies = {}
    for name in ("dirichlet-by-class", "dirichlet-by-turns"):
        counts = partition.class_counts(make(name, labels, 100, alpha=0.3), labels, 10)
        shares = counts / counts.sum(axis=1, keepdims=True)
        logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        entropies[name] = -(shares * logs).sum(axis=1)
    in_blocks, in_turns = entropies.values()
    assert in_turns.mean() > in_blocks.mean() + 0.05
    assert in_turns.min() > in_blocks.min() + 0.2
    assert in_turns.std() < in_blocks.std()


def test_drawing_in_batches_is_drawing_one_at_a_time():
    """With mixture (1/2, 1/2), 3 draws and (1, 5) left: none of class 0 is taken with probability 1/8."""
    rng = np.random.default_rng(0)
    draws = [
        dealing._draw_without_replacement(np.array([0.5, 0.5]), 3, np.array([1, 5]), 1.0, rng)[0]
        for _ in range(4000)
    ]
    assert abs(np.mean(draws) - 7 / 8) < 0.02


# Shards, classes, sizes, owners.


def test_shards_hold_at_most_one_class_more_than_shards():
    parts = make("shards", BALANCED, 20, classes_per_client=3)
    assert np.all(sizes(parts) == 30)
    counts = partition.class_counts(parts, BALANCED, 10)
    # 60 shards of 10 examples divide the classes exactly.
    assert np.all(counts % 10 == 0)
    assert np.all((counts > 0).sum(axis=1) <= 3)


@given(problems(), st.integers(1, 6), st.integers(0, 9))
@settings(max_examples=200)
def test_classes_gives_exactly_k_whenever_that_is_possible(problem, k, seed):
    labels, clients = problem
    class_sizes = np.unique(labels, return_counts=True)[1]
    possible = k <= len(class_sizes) <= clients * k <= np.minimum(class_sizes, clients).sum()
    if not possible:
        with pytest.raises(UsageError):
            make("classes", labels, clients, seed, classes_per_client=k)
        return
    parts = make("classes", labels, clients, seed, classes_per_client=k)
    assert_deals_out(parts, clients, np.arange(len(labels)))
    assert all(len(np.unique(labels[rows])) == k for rows in parts)


@pytest.mark.parametrize(
    ("number", "clients", "k", "members"),
    [(10, 10, 2, 2), (10, 100, 2, 20), (10, 10, 5, 5), (10, 100, 5, 50), (100, 10, 50, 5)],
)
def test_classes_forms_the_blocks_of_fedsparsify(number, clients, k, members):
    """Fashion-MNIST k = 2: five pairs; CIFAR-10 k = 5: two halves; CIFAR-100 k = 50: two halves."""
    labels = np.repeat(np.arange(number), 6000 // number)
    parts = make("classes", labels, clients, classes_per_client=k)
    assert np.all(sizes(parts) == 6000 // clients)
    held = [tuple(np.unique(labels[rows])) for rows in parts]
    blocks = [tuple(range(first, first + k)) for first in range(0, number, k)]
    assert sorted(held) == sorted(blocks * members)


def test_power_law_sizes():
    labels = np.zeros(1000, np.int64)
    held = sizes(make("power-law", labels, 4, alpha=1.0))
    # One each; 996 by shares 12 : 6 : 4 : 3 of 25 = 478.08, 239.04, 159.36, 119.52.
    assert held.tolist() == [479, 240, 160, 121]
    assert sizes(make("power-law", labels, 4, alpha=1e9)).tolist() == [997, 1, 1, 1]
    assert np.ptp(sizes(make("power-law", labels, 7, alpha=1e-9))) <= 1


def test_natural_keeps_owners_together():
    owners = np.array([7, 2, 7, 9, 2, 7])
    parts = make("natural", np.zeros(6, np.int64), 3, client_train=owners)
    assert [rows.tolist() for rows in parts] == [[1, 4], [0, 2, 5], [3]]


def test_consecutive_keeps_the_order_of_the_data_set():
    parts = make("consecutive", np.zeros(10, np.int32), 3)
    assert [rows.tolist() for rows in parts] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_natural_with_fewer_clients_leaves_whole_owners_out():
    owners = np.repeat(np.arange(50), 4)
    parts = make("natural", owners, 20, client_train=owners)
    held = [np.unique(owners[rows]).tolist() for rows in parts]
    assert all(len(ids) == 1 for ids in held)
    assert np.all(np.diff(np.array(held)[:, 0]) > 0)
    assert np.all(sizes(parts) == 4)


@pytest.mark.parametrize("name", ["iid", "consecutive", "power-law", "natural"])
def test_text_goes_by_anything_but_labels(name):
    text = np.zeros((30, 8), np.int32)
    assert_deals_out(make(name, text, 3, client_train=np.arange(30) % 3), 3, np.arange(30))


# Requests that cannot be met.


@pytest.mark.parametrize(
    "name", ["dirichlet", "dirichlet-by-class", "dirichlet-by-turns", "shards", "classes"]
)
@pytest.mark.parametrize("labels", [np.zeros((30, 8), np.int32), np.zeros(30, np.float32)])
def test_rules_by_label_refuse_other_targets(name, labels):
    with pytest.raises(
        UsageError, match=r"one integer label per example.*allowed here: consecutive, iid, natural, power-law"
    ):
        make(name, labels, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dirichelt", {}, "did you mean 'dirichlet'"),
        ("iid", {"clients": 601}, r"clients = 601 is out of range; allowed: \[1, 600\]"),
        ("iid", {"clients": 0}, "clients = 0"),
        ("iid", {"seed": -1}, "partition_seed = -1"),
        ("dirichlet", {"alpha": 0.0}, "alpha = 0.0 is out of range"),
        ("dirichlet", {"alpha": float("nan")}, "alpha = nan"),
        ("dirichlet", {"alpha": 1e-6, "clients": 20}, "in each of 200 draws; allowed: a larger alpha"),
        ("dirichlet-by-class", {"alpha": -1.0}, "alpha = -1.0"),
        ("power-law", {"alpha": float("inf")}, "alpha = inf"),
        (
            "classes",
            {"classes_per_client": 11},
            r"classes_per_client = 11 is out of range; allowed: \[1, 10\]",
        ),
        ("classes", {"classes_per_client": 1, "clients": 3}, "cannot hold all 10 classes; allowed: .* >= 4"),
        ("shards", {"classes_per_client": 61}, r"allowed: \[1, 60\]"),
        ("natural", {}, "names the owner of each example"),
        (
            "natural",
            {"client_train": np.arange(600) // 100},
            r"more than the data set's owners; allowed: \[1, 6\]",
        ),
        ("natural", {"client_train": np.arange(5)}, r"shape \(5,\)"),
    ],
)
def test_refusals_name_the_value_and_what_is_allowed(name, options, message):
    with pytest.raises(UsageError, match=message):
        make(name, BALANCED, **({"clients": 10} | options))


def test_classes_too_small_for_so_many_clients():
    with pytest.raises(
        UsageError, match=r"too small for 4 clients.*allowed: classes_per_client \* clients <= 6"
    ):
        make("classes", np.array([0, 0, 0, 0, 0, 0, 1, 2]), 4, classes_per_client=2)


def test_class_counts():
    labels = np.array([0, 2, 2, 1, 0])
    counts = partition.class_counts([np.array([0, 1]), np.array([2, 3, 4])], labels, 4)
    assert counts.tolist() == [[1, 0, 1, 0], [1, 1, 1, 0]]
    assert counts.dtype == np.int64
