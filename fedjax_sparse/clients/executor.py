"""Runs the same work for every client of a cohort: vmapped inside a chunk, chunks scanned, devices sharded.

How the cohort is cut changes only the order of floating-point sums. Which cut is fastest depends on the
platform: on CPU one client at a time, on an accelerator as many as fit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from fedjax_sparse import trees
from fedjax_sparse.devices.meshes import AXIS
from fedjax_sparse.devices.tracing import traced
from fedjax_sparse.types import Client, Cohort, Product, PyTree

Work = Callable[[Any, PyTree, Client, jax.Array], tuple[PyTree, PyTree, PyTree]]
OverClients = Callable[[Work, Any, PyTree, Cohort, jax.Array], tuple[PyTree, PyTree, PyTree]]


def make_over_clients(chunk: int | None = None, mesh: Mesh | None = None) -> OverClients:
    """Builds `over_clients(work, shared, client_states, cohort, key)`.

    `work(shared, client_state, client, key) -> (sent, client_state, log)` is written for one client; its key
    depends on the client's id, never on its place in the cohort. Returned are the sum of `sent` over the clients
    that are present (a `Product` among it is multiplied out), the new client states (absent clients keep theirs)
    and the logs (zero for absent clients), both stacked along a leading axis C. Weighting is up to `work`, so that
    several sums may be weighted differently.

    Args:
        chunk: Clients that are vmapped together, at least 1; None for the whole cohort (of each device).
        mesh: Devices along an axis named `clients`; None for one device.
    """

    def over_clients(work, shared, client_states, cohort, key):
        places = cohort.id.shape[0]
        devices = 1 if mesh is None else mesh.shape[AXIS]
        width = min(chunk or places, -(-places // devices))
        rows = _rows(cohort, client_states, extra=-places % (width * devices))

        def on_one_device(shared, rows, pool, key):
            return _in_chunks(_for_one_client(work, shared, pool, key), rows, width)

        run = on_one_device if mesh is None else _sharded(on_one_device, mesh)
        total, states, log = run(shared, rows, cohort.pool, key)
        return total, *jax.tree.map(lambda leaf: leaf[:places], (states, log))

    return over_clients


def those_at(cohort: Cohort, places: jax.Array) -> Cohort:
    """The cohort of the clients at these places, i32[n]."""
    rows = jax.tree.map(lambda leaf: leaf[places], (cohort.id, cohort.weight, cohort.index, cohort.count))
    return Cohort(*rows, pool=cohort.pool, population=cohort.population)


def of_cohort(rows: PyTree, places: jax.Array, cohort: Cohort) -> PyTree:
    """What those at these places report ([n, ...] each) as rows of the whole cohort, [C, ...], zero elsewhere."""
    size = cohort.id.shape[0]
    return jax.tree.map(
        lambda leaf: jnp.zeros((size, *leaf.shape[1:]), leaf.dtype).at[places].set(leaf), rows
    )


class _Rows(NamedTuple):
    """What differs between the places of a cohort; each field has a leading axis over them."""

    state: PyTree
    id: jax.Array
    weight: jax.Array
    index: jax.Array
    count: jax.Array


def _rows(cohort: Cohort, client_states: PyTree, extra: int) -> _Rows:
    """The cohort's rows, followed by `extra` empty places."""
    # A client that will not answer need not train.
    count = jnp.where(cohort.present, cohort.count, 0)
    rows = _Rows(client_states, cohort.id, cohort.weight, cohort.index, count)
    if extra == 0:
        return rows
    rows = jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, extra), *((0, 0),) * (leaf.ndim - 1))), rows)
    return rows._replace(id=rows.id.at[-extra:].set(cohort.population))


def _for_one_client(work: Work, shared: Any, pool: PyTree, key: jax.Array) -> Callable:
    """`work` for one row of the cohort; an absent client sends zeros and keeps its state."""

    def one_client(row: _Rows):
        client_state, *fields = row
        client = Client(*fields, pool=pool)
        arguments = shared, client_state, client, jax.random.fold_in(key, client.id)
        if_present = _branched if jax.tree.leaves(client_state) else _selected
        return if_present(work, client.weight > 0, client_state, arguments)

    return one_client


def _selected(work: Callable, present: jax.Array, client_state: PyTree, arguments: tuple) -> tuple:
    """Works without a state, and selects what comes of it: that is fused with the sum over clients."""
    sent, _, log = work(*arguments)
    sent, log = trees.where(present, (sent, log), trees.zeros_like((sent, log)))
    return sent, client_state, log


def _branched(work: Callable, present: jax.Array, client_state: PyTree, arguments: tuple) -> tuple:
    """Works in a branch, which reads the client's state once, when it is entered.

    Read again after the training, from among the states that are about to be replaced where they stand, it makes
    XLA copy those of all clients for each client.
    """
    run, (sent, _, log) = traced(work, *arguments)

    def stays(*_):
        return trees.zeros_like(sent), client_state, trees.zeros_like(log)

    return jax.lax.cond(present, run, stays, *arguments)


def _in_chunks(one_client: Callable, rows: _Rows, width: int) -> tuple[PyTree, PyTree, PyTree]:
    """Sums what is sent in the carry of a scan over chunks of `width` clients."""
    places = rows.id.shape[0]
    # A vmap over one client would still turn its layers into batched ones, which are slower.
    run = _one(one_client) if width == 1 else lambda chunk: _summed(jax.vmap(one_client)(chunk))
    if places == width > 1:
        return run(rows)
    if width > 1:
        rows = jax.tree.map(lambda leaf: leaf.reshape(-1, width, *leaf.shape[1:]), rows)

    run, (sent, _, _) = traced(run, jax.tree.map(lambda leaf: leaf[0], rows))

    # States are replaced where they stand: stacked anew, they would take twice the memory and more passes over it.
    def step(carry, chunk):
        total, states = carry
        i, others = chunk
        own = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), states)
        sent, new, log = run(others._replace(state=own))
        states = jax.tree.map(
            lambda leaf, row: jax.lax.dynamic_update_index_in_dim(leaf, row, i, 0), states, new
        )
        return (trees.add(total, sent), states), log

    chunks = jnp.arange(places // width), rows._replace(state=())
    (total, states), log = jax.lax.scan(step, (trees.zeros_like(sent), rows.state), chunks)
    if width > 1:
        states, log = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (states, log))
    return total, states, log


def _one(one_client: Callable) -> Callable:
    """The same for a chunk of one client, whose sum is what it sends."""

    def run(row: _Rows) -> tuple[PyTree, PyTree, PyTree]:
        sent, states, log = one_client(row)
        return _multiplied(sent, lambda leaf: leaf), states, log

    return run


def _summed(out: tuple[PyTree, PyTree, PyTree]) -> tuple[PyTree, PyTree, PyTree]:
    sent, states, log = out
    return _multiplied(sent, lambda leaf: jnp.sum(leaf, axis=0, dtype=leaf.dtype)), states, log


def _multiplied(sent: PyTree, sum_of: Callable[[jax.Array], jax.Array]) -> PyTree:
    """The sum over a chunk, in which a product is one over the rows of all its clients."""

    def one(leaf):
        if not isinstance(leaf, Product):
            return sum_of(leaf)
        left, right = (side.reshape(-1, side.shape[-1]) for side in leaf)
        return left.T @ right

    return jax.tree.map(one, sent, is_leaf=lambda node: isinstance(node, Product))


def _sharded(on_one_device: Callable, mesh: Mesh) -> Callable:
    """Spreads the rows over the mesh; one psum brings the sums together."""
    everywhere, spread = PartitionSpec(), PartitionSpec(AXIS)

    def local(shared, rows, pool, key):
        total, states, log = on_one_device(shared, rows, pool, key)
        return jax.lax.psum(total, AXIS), states, log

    # Unchecked, so that loops inside `work` may start from constants: the check would want each of them to be cast
    # to a value that varies over the mesh. Only sums leave replicated, and those come from the psum.
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(everywhere, spread, everywhere, everywhere),
        out_specs=(everywhere, spread, spread),
        check_vma=False,
    )
