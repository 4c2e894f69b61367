"""The states that N clients keep between rounds: created, gathered for a cohort, scattered back.

Boolean leaves (masks) are stored as bits. The gathered states are ordinary: algorithms never see the storage.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse.errors import UsageError
from fedjax_sparse.types import PyTree, Variables


class StateStore(NamedTuple):
    """How the clients' states are stored; `stored` is a pytree with a leading axis N.

    Attributes:
        create: (variables, key, ids i32[n]) -> stored states of these clients, each from its own key; of all N
            clients without ids.
        gather: (stored, id i32[C]) -> states with a leading axis C; an empty place gets any client's state. With None
            for the ids, all that is stored, as it stands and without a copy.
        scatter: (stored, id i32[C], states) -> stored; empty places (id = N) are dropped. None as in `gather`.
        bytes_per_client: Size of one client's stored state.
    """

    create: Callable[..., PyTree]
    gather: Callable[[PyTree, jax.Array | None], PyTree]
    scatter: Callable[[PyTree, jax.Array | None, PyTree], PyTree]
    bytes_per_client: int


def make_state_store(
    init_client: Callable, variables: Variables, population: int, divisor: int = 1
) -> StateStore:
    """Builds the store of `population` client states.

    Args:
        init_client: (variables, key) -> one client's state.
        variables: The model's variables, or their ShapeDtypeStructs.
        population: N.
        divisor: N is rounded up to a multiple of this, the number of devices that share the store. What stands in
            the rows beyond N means nothing.
    """
    template = jax.eval_shape(init_client, variables, jax.eval_shape(lambda: jax.random.key(0)))

    def create(variables, key, ids=None):
        def one(client_id):
            return pack(init_client(variables, jax.random.fold_in(key, client_id)))

        ids = jnp.arange(population + -population % divisor) if ids is None else ids
        return jax.vmap(one)(ids) if jax.tree.leaves(template) else template

    def gather(stored, ids):
        rows = stored if ids is None else jax.tree.map(lambda leaf: leaf.at[ids].get(mode="clip"), stored)
        return jax.vmap(lambda row: unpack(row, template))(rows) if jax.tree.leaves(template) else template

    def scatter(stored, ids, states):
        rows = jax.vmap(pack)(states) if jax.tree.leaves(template) else template
        if ids is None:
            return rows
        return jax.tree.map(lambda leaf, row: leaf.at[ids].set(row, mode="drop"), stored, rows)

    packed = jax.eval_shape(pack, template)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(packed))
    return StateStore(create, gather, scatter, size)


def in_order(store: StateStore) -> StateStore:
    """The same where a cohort is all that is stored, in that order: nobody is looked up, and no state is copied."""
    return store._replace(
        gather=lambda stored, ids: store.gather(stored, None),
        scatter=lambda stored, ids, states: store.scatter(stored, None, states),
    )


def check_fits(store: StateStore, name: str, *, clients: int, seeds: int, available: int) -> None:
    """Refuses a run whose client states cannot be held; nothing has been compiled or allocated yet.

    Args:
        store: How one client's state is stored.
        name: The algorithm, for the message.
        clients: N.
        seeds: K, each with states of its own.
        available: Bytes that there are, see `available_memory`.

    Raises:
        UsageError: With an estimate in GB, and what can be done.
    """
    needed = store.bytes_per_client * clients * seeds
    if needed > available:
        one, whole, there = (f"{size / 1e9:.3g} GB" for size in (store.bytes_per_client, needed, available))
        most = available // (store.bytes_per_client * seeds)
        raise UsageError(
            f"{name} keeps {one} for each of {clients:,} clients, with --seeds {seeds} {whole}, but there are {there}; "
            f"allowed: at most {most:,} --clients, fewer --seeds, a smaller --model, --dtype bfloat16, "
            "--state-store host where main memory is larger, or an algorithm whose clients keep nothing, such as fedavg"
        )


def available_memory(devices: int = 1) -> int:
    """Bytes for arrays on so many devices: those of accelerators, or main memory that processes may use."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] * devices
    return main_memory() * max(devices // jax.local_device_count(), 1)


def main_memory(root: Path = Path("/")) -> int:
    """Bytes of main memory that this process may use: the machine's, or fewer where a control group has a limit.

    Args:
        root: Where /proc and /sys are.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Of the process's control groups and of all groups around them, in versions 2 and 1 of Linux's control groups.

    In a container, the path of a group may be that on the host, which is not there; its limit is then at the top.
    """
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(top) and (group / name).is_file():
                text = (group / name).read_text().strip()
                if text != "max":
                    yield int(text)


def pack(state: PyTree) -> PyTree:
    """Boolean leaves as bits, u8[ceil(size / 8)]; others unchanged."""
    return jax.tree.map(lambda leaf: jnp.packbits(leaf) if leaf.dtype == bool else leaf, state)


def unpack(packed: PyTree, template: PyTree) -> PyTree:
    """Inverse of `pack`; `template` has the state's shapes and dtypes."""

    def one(leaf, like):
        if like.dtype != bool:
            return leaf
        return jnp.unpackbits(leaf, count=like.size).reshape(like.shape).astype(bool)

    return jax.tree.map(one, packed, template)


def no_client_state(variables: Variables, key: jax.Array) -> tuple[()]:
    """`Algorithm.init_client` of algorithms whose clients keep nothing."""
    del variables, key
    return ()
