"""How much memory a run needs, said before it starts, and what to do where there is not so much."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax

from fedjax_sparse.clients import state_store
from fedjax_sparse.clients.state_store import StateStore
from fedjax_sparse.config.options import LARGEST
from fedjax_sparse.costs.units import human_bytes
from fedjax_sparse.devices import platforms
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.models.model import Model
from fedjax_sparse.simulation import programs
from fedjax_sparse.simulation.programs import Footprint, Program
from fedjax_sparse.simulation.setting import Setting, with_chunk
from fedjax_sparse.types import Algorithm, Federation


class Estimate(NamedTuple):
    """The memory of a run while it trains and tests.

    Attributes:
        needed: Bytes on each accelerator, or of main memory.
        available: Bytes that there are.
        chunk: Clients trained at once on each device.
        devices: That share the cohort.
    """

    needed: int
    available: int
    chunk: int
    devices: int

    @property
    def fits(self) -> bool:
        """Whether the run can start."""
        return self.needed <= self.available

    def describe(self) -> str:
        """One line for people."""
        return (
            f"memory: about {human_bytes(self.needed)} of {human_bytes(self.available)}, "
            f"training {self._at_once}"
        )

    def check(self) -> None:
        """Raises a `TooLargeError` with the numbers where the run cannot fit."""
        if not self.fits:
            fewer = "fewer --devices, " if self.devices > 1 and platforms.current().shares_main_memory else ""
            raise TooLargeError(
                f"the run needs about {human_bytes(self.needed)} to train {self._at_once}, but there are "
                f"{human_bytes(self.available)}; allowed: {fewer}{smaller(self.chunk)}"
            )

    @property
    def _at_once(self) -> str:
        each = f" on each of {self.devices} devices" if self.devices > 1 else ""
        return f"{self.chunk} clients at once{each}"


class TooLargeError(UsageError):
    """A run needs more memory than there is."""


class OutOfMemoryError(RunError):
    """Memory was asked for that is not there."""


class Compiled(NamedTuple):
    """A run whose rounds and evaluation are compiled, and the memory that they need."""

    algorithm: Algorithm
    setting: Setting
    program: Program
    memory: Estimate


def compile_to_fit(
    make: Callable[[Federation], Algorithm], setting: Setting, seeds: int = 1, *, fixed: bool = False
) -> Compiled:
    """Compiles a run; its chunk is halved until, by the estimate, the run fits into memory.

    Args:
        make: Builds the algorithm.
        setting: Where it runs, with the largest chunk to try.
        seeds: K.
        fixed: Whether that chunk is the only one.

    Returns:
        The first that fits or, where none does, the last one: its `memory` tells.

    Raises:
        OutOfMemoryError: Not even compiling the last one fitted into memory.
    """
    while True:
        algorithm, final = make(setting.federation), fixed or setting.chunk == 1
        try:
            with watched(setting.chunk):
                program, footprint = programs.compile_ahead(algorithm, setting, seeds)
            expected = estimate(footprint, setting, program.store, seeds)
            if expected.fits or final:
                return Compiled(algorithm, setting, program, expected)
        except OutOfMemoryError:
            if final:
                raise
        setting = with_chunk(setting, -(-setting.chunk // 2))


def estimate(footprint: Footprint, setting: Setting, store: StateStore, seeds: int = 1) -> Estimate:
    """The memory of a run. What lies on the devices of a CPU and what lies on its host share one main memory.

    Args:
        footprint: Of the compiled run, see `simulation.compile_ahead`.
        setting: Where the run takes place.
        store: How its clients' states are kept.
        seeds: K, each with states of its own.
    """
    test = sum(leaf.nbytes for leaf in jax.tree.leaves(setting.test))
    each = footprint.kept + footprint.temporary + test
    here = 1 if setting.mesh is None else len(setting.mesh.local_devices)
    if not platforms.current().shares_main_memory:
        return Estimate(each, state_store.available_memory(1), setting.chunk, setting.devices)
    clients = setting.federation.population if setting.state_store == "host" else 0
    needed = each * here + store.bytes_per_client * clients * seeds
    return Estimate(needed, state_store.available_memory(1), setting.chunk, setting.devices)


def check_model(model: Model, seeds: int = 1) -> None:
    """Refuses a model that cannot be held, or whose entries cannot be counted; nothing has been allocated yet.

    A run holds at least the model of each seed's server, one client's and its gradient.

    Raises:
        UsageError: With the numbers.
    """
    params = jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)).params)
    entries = sum(math.prod(leaf.shape) for leaf in params)
    if entries > LARGEST:
        raise UsageError(
            f"model {model.name} has {entries:,} parameters, which are counted in 32 bits; allowed: at most {LARGEST:,}"
        )
    needed = (seeds + 2) * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in params)
    available = state_store.available_memory(1)
    if needed > available:
        raise UsageError(
            f"model {model.name} has {entries:,} parameters, of which a run needs at least {human_bytes(needed)}, but "
            f"there are {human_bytes(available)}; allowed: a smaller --model, fewer --seeds, --dtype bfloat16"
        )


def smaller(chunk: int) -> str:
    """What needs less than training so many clients at once, in words."""
    fewer = f"--chunk {-(-chunk // 2)}, " if chunk > 1 else ""
    elsewhere = "" if platforms.current().shares_main_memory else "--state-store host, more --devices, "
    return (
        f"{fewer}{elsewhere}fewer --seeds or --clients, a smaller --model or --batch-size, "
        "--compute-dtype bfloat16 or --dtype bfloat16"
    )


@contextlib.contextmanager
def watched(chunk: int, estimate: Estimate | None = None) -> Iterator[None]:
    """Turns running out of memory into an `OutOfMemoryError` with what needs less.

    Args:
        chunk: Clients trained at once.
        estimate: Of the compiled run; None while it is being compiled.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        expected = " while compiling"
        if estimate is not None:
            expected = (
                f"; the estimate was {human_bytes(estimate.needed)} of {human_bytes(estimate.available)}"
            )
        raise OutOfMemoryError(
            f"out of memory{expected} with {chunk} clients at once; try {smaller(chunk)}"
        ) from error
