"""All clients over one pool of examples, the cohort of a round gathered from them, and what its padding costs."""
# pyright: reportIncompatibleMethodOverride=false
# (the fields `index` and `count` hide methods of tuples that nobody calls here)

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_sparse.data import partition as partitions
from fedjax_sparse.errors import UsageError
from fedjax_sparse.types import Cohort, Pool

Array = jax.Array | np.ndarray


class Population(NamedTuple):
    """N clients as arrays (NumPy when built), to be handed to a jitted function as an argument.

    Attributes:
        pool: Every training example once.
        index: i32[N, S], rows of the pool; only the first `count` are the client's, the others are 0.
        count: i32[N], examples that each client holds, at least 1.
        weight: f[N], weight of each client in means over clients.
    """

    pool: Pool
    index: Array
    count: Array
    weight: Array


def build(
    x: np.ndarray,
    y: np.ndarray,
    parts: Sequence[np.ndarray],
) -> Population:
    """The population in which client i holds the rows parts[i] of the pool, each weighted by its examples.

    Args:
        x: [M, ...], examples as they are stored; normalised only inside a local step.
        y: [M, ...], targets.
        parts: Rows of each of the N clients, at least one each.

    Raises:
        UsageError: A client without examples.
    """
    count = np.array([len(rows) for rows in parts], np.int32)
    if not count.all():
        raise UsageError(
            f"client {int(np.argmin(count))} of {len(parts)} has no examples; allowed: at least 1 each"
        )
    index = np.zeros((len(parts), count.max()), np.int32)
    for row, rows in zip(index, parts, strict=True):
        row[: len(rows)] = rows
    # Handed to a jitted function as it is; what reads it there sees JAX arrays.
    pool = Pool(cast(jax.Array, x), cast(jax.Array, y))
    return Population(pool, index, count, _floats(count))


def weighted(population: Population, weighting: Literal["examples", "uniform"]) -> Population:
    """The same clients; means over them weigh each by its `examples`, or all alike (`uniform`)."""
    count = np.asarray(population.count)
    return population._replace(weight=_floats(count if weighting == "examples" else np.ones_like(count)))


def _floats(weight: np.ndarray) -> np.ndarray:
    return weight.astype(jax.dtypes.canonicalize_dtype(np.float64))


def class_counts(population: Population, classes: int) -> np.ndarray:
    """i64[N, classes]: how many examples of each class each client holds; `population.pool.y` is int[M]."""
    held = zip(np.asarray(population.index), np.asarray(population.count), strict=True)
    return partitions.class_counts([rows[:n] for rows, n in held], np.asarray(population.pool.y), classes)


def gather(population: Population, ids: Array, present: Array) -> Cohort:
    """The clients `ids` as a cohort. Pure; works under `jit` and `vmap`.

    Args:
        population: N clients.
        ids: i32[C]; N marks an empty place, which gets count and weight 0.
        present: bool[C]; who is not present keeps its examples and gets weight 0.
    """
    clients = population.count.shape[0]
    ids = jnp.asarray(ids, jnp.int32)

    def rows(array: Array) -> jax.Array:
        return jnp.asarray(array).at[ids].get(mode="fill", fill_value=0)

    weight = jnp.where(present, rows(population.weight), 0)
    index, count = rows(population.index), rows(population.count)
    return Cohort(ids, weight, index, count, population.pool, jnp.asarray(clients, jnp.int32))


class Padding(NamedTuple):
    """Local work as run and as needed; the difference is what padding wastes.

    Attributes:
        steps_run: Local steps there was time for: clients of a chunk step together, devices wait for the slowest.
        steps_needed: The same had every client stopped after its own last step.
        examples_run: Places in all batches of `steps_run`.
        examples_needed: Examples among them that are not padding.
    """

    steps_run: int
    steps_needed: int
    examples_run: int
    examples_needed: int

    def describe(self) -> str:
        """One line for people."""
        steps, places = self.steps_run - self.steps_needed, self.examples_run - self.examples_needed
        return (
            f"padding: {steps:,} of {self.steps_run:,} local steps ({steps / max(self.steps_run, 1):.1%}) and "
            f"{places:,} of {self.examples_run:,} places in batches ({places / max(self.examples_run, 1):.1%})"
        )


def padding(
    counts: np.ndarray,
    *,
    batch_size: int,
    epochs: int | None = None,
    steps: int | None = None,
    chunk: int,
    devices: int = 1,
) -> Padding:
    """What a cohort's round runs and what it needs.

    Clients of a chunk step together until the last of them is done. Devices get equally many chunks, filled up with
    empty places, and wait for the slowest of them. A pass over a client's data ends with a partial batch, also where
    `steps` rules. At chunk 1, on one device, no whole step is wasted.

    Args:
        counts: i[C], examples of each place in its order in the cohort; 0 for who does not train.
        batch_size: B.
        epochs: Passes over each client's data; None where `steps` rules.
        steps: Local steps of each client; None where `epochs` rules.
        chunk: Clients in lockstep, at least 1.
        devices: Devices that share the cohort.
    """
    counts = np.asarray(counts, np.int64)
    per_pass = -(-counts // batch_size)
    if steps is None:
        assert epochs is not None
        needed = epochs * per_pass
    else:
        needed = np.where(counts > 0, steps, 0)
    passes, rest = np.divmod(needed, np.maximum(per_pass, 1))
    examples = passes * counts + np.minimum(rest * batch_size, counts)
    width = min(chunk, -(-len(counts) // devices))
    places = np.pad(needed, (0, -len(counts) % (width * devices))).reshape(devices, -1, width)
    run = devices * width * int(places.max(axis=2).sum(axis=1).max())
    return Padding(run, int(needed.sum()), run * batch_size, int(examples.sum()))
