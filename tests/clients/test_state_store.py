"""Client states survive storage, bit-packed masks included; empty places touch nobody."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.clients import state_store
from fedjax_sparse.errors import UsageError
from fedjax_sparse.types import Variables

N = 6
VARIABLES = Variables({"w": jnp.arange(11.0)})


def init_client(variables, key):
    return {"mask": jax.random.bernoulli(key, 0.5, (3, 7)), "residual": variables.params["w"] + 1}


def test_gather_returns_what_each_client_was_given():
    store = state_store.make_state_store(init_client, VARIABLES, N)
    key = jax.random.key(0)
    stored = store.create(VARIABLES, key)
    states = store.gather(stored, jnp.asarray([4, 1]))
    for place, client in enumerate((4, 1)):
        expected = init_client(VARIABLES, jax.random.fold_in(key, client))
        jax.tree.map(
            np.testing.assert_array_equal, jax.tree.map(lambda leaf, i=place: leaf[i], states), expected
        )
    assert stored["mask"].shape == (N, 3)  # 21 bits in 3 bytes
    assert store.bytes_per_client == 3 + 11 * 4


def test_scatter_changes_the_cohort_and_nobody_else():
    store = state_store.make_state_store(init_client, VARIABLES, N)
    before = store.create(VARIABLES, jax.random.key(0))
    ids = jnp.asarray([5, N, 2], jnp.int32)  # the middle place is empty
    states = store.gather(before, ids)
    changed = {"mask": ~states["mask"], "residual": states["residual"] * 2}
    after = store.gather(store.scatter(before, ids, changed), jnp.arange(N))
    kept = store.gather(before, jnp.arange(N))
    for client in range(N):
        factor = 2 if client in (5, 2) else 1
        np.testing.assert_array_equal(after["residual"][client], kept["residual"][client] * factor)
        np.testing.assert_array_equal(after["mask"][client], kept["mask"][client] ^ (factor == 2))


def test_without_ids_all_are_gathered_and_scattered_as_they_stand():
    store = state_store.make_state_store(init_client, VARIABLES, N)
    before, everyone = store.create(VARIABLES, jax.random.key(0)), jnp.arange(N)
    states = store.gather(before, None)
    jax.tree.map(np.testing.assert_array_equal, states, store.gather(before, everyone))
    changed = jax.tree.map(lambda leaf: ~leaf if leaf.dtype == bool else leaf + 1, states)
    after = store.scatter(before, None, changed)
    jax.tree.map(np.testing.assert_array_equal, after, store.scatter(before, everyone, changed))
    in_order = state_store.in_order(store)
    jax.tree.map(np.testing.assert_array_equal, in_order.gather(before, everyone), states)
    jax.tree.map(np.testing.assert_array_equal, in_order.scatter(before, everyone, changed), after)


def test_clients_that_keep_nothing_store_nothing():
    store = state_store.make_state_store(state_store.no_client_state, VARIABLES, N)
    assert store.create(VARIABLES, jax.random.key(0)) == ()
    assert store.gather((), jnp.arange(2)) == ()
    assert store.scatter((), jnp.arange(2), ()) == ()
    assert store.bytes_per_client == 0


def test_states_that_do_not_fit_are_refused_with_an_estimate_and_what_can_be_done():
    store = state_store.make_state_store(init_client, VARIABLES, N)._replace(bytes_per_client=145_000_000)
    state_store.check_fits(store, "flare", clients=100, seeds=2, available=29_000_000_000)
    message = (
        r"flare keeps 0.145 GB for each of 1,000 clients, with --seeds 2 290 GB, but there are 29 GB; "
        r"allowed: at most 100 --clients, fewer --seeds, a smaller --model"
    )
    with pytest.raises(UsageError, match=message):
        state_store.check_fits(store, "flare", clients=1000, seeds=2, available=29_000_000_000)


def test_clients_that_keep_nothing_always_fit():
    store = state_store.make_state_store(state_store.no_client_state, VARIABLES, N)
    state_store.check_fits(store, "fedavg", clients=10**9, seeds=1, available=0)


def test_there_is_memory():
    assert state_store.available_memory() > 10**8


def test_hosts_that_share_the_devices_of_their_cpus_share_the_states(monkeypatch):
    """Twice as many devices as this process has are those of two processes."""
    here = jax.local_device_count()
    monkeypatch.setattr(state_store, "main_memory", lambda: 100)
    assert [state_store.available_memory(count) for count in (1, here, 2 * here)] == [100, 100, 200]


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("", {}, None),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {"memory.max": "2000"}, 2000),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "3000", "memory.max": "max"}, 3000),
        ("0::/a/b", {"a/b/memory.max": "1000", "a/memory.max": "3000"}, 1000),
        ("1:cpu:/a\n0::/on/the/host", {"memory.max": "4000"}, 4000),
        (
            "4:memory:/a\n0::/",
            {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/a/memory.limit_in_bytes": "5000"},
            5000,
        ),
        ("4:memory:/a", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_memory_is_limited_by_every_control_group_around_the_process(tmp_path, groups, limits, expected):
    """None stands for the machine's own memory."""
    for name, text in {
        "proc/self/cgroup": groups,
        **{f"sys/fs/cgroup/{k}": v for k, v in limits.items()},
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert state_store.main_memory(tmp_path) == (expected or machine)
