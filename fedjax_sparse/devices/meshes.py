"""The devices that a cohort is spread over, on one host or several."""

import contextlib
import os
from typing import Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fedjax_sparse.devices import platforms
from fedjax_sparse.errors import UsageError

AXIS = "clients"  # the mesh axis over which a cohort is spread
# A device waits for those whose clients take longer. After 40 s XLA would take it for stuck, and abort the process.
PATIENCE = " ".join(
    f"--xla_cpu_collective_call_{what}_timeout_seconds=1000000" for what in ("warn_stuck", "terminate")
)


def choose(count: int | Literal["auto"], cohort_size: int) -> int:
    """How many devices a run uses: automatic ones are all that its cohort can occupy; a number asks for so many.

    Where only a CPU is there its cores become devices. Once JAX has started they cannot any more: then automatic ones
    are those that JAX was told to make of them (`jax_num_cpu_devices`), else one.

    Raises:
        UsageError: More devices than there are, or none of the platform that the environment names.
    """
    if jax.distributed.is_initialized():
        return _all(count)
    if count != 1:
        make_devices_of_cores(cores() if count == "auto" else min(count, cores()))
    _check_there_are_any()
    available = jax.device_count()
    if count == "auto":
        on_cores = _told() or 1
        return min(available if platforms.current().side_by_side else on_cores, cohort_size)
    if count > available:
        raise UsageError(
            f"--devices = {count} is more than there are: {available} ({platforms.current().name}); "
            f"allowed: 1 to {available}, or auto"
        )
    return count


def make_again(count: int | Literal["auto"]) -> None:
    """Makes the devices of a run that goes on, before anything else starts JAX: as many, also of fewer cores.

    How a run rounds goes with the number of its devices.
    """
    if count != "auto" and count > 1 and not jax.distributed.is_initialized():
        make_devices_of_cores(count)
        _check_there_are_any()


def _check_there_are_any() -> None:
    """Starts JAX, which has no words for an accelerator that it does not find."""
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        named = os.environ.get("JAX_PLATFORMS", "")
        raise UsageError(
            f"JAX_PLATFORMS = {named!r}: JAX finds no such device{f' ({error})' if str(error) else ''}; "
            "allowed: cpu, or unset for the best that is there"
        ) from error


def _all(count: int | Literal["auto"]) -> int:
    """Every device of a cluster: a process whose devices had no part in the run would be out of step."""
    there = jax.device_count()
    if count not in ("auto", there):
        raise UsageError(
            f"--devices = {count} of {jax.process_count()} processes; allowed: all {there}, or auto"
        )
    return there


def cores() -> int:
    """Cores that this process may use; not every system says which those are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_devices_of_cores(count: int) -> None:
    """Has JAX make so many devices of a CPU, unless it has started, or somebody has told it already how many."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" in flags or _told() is not None:
        return
    with contextlib.suppress(RuntimeError):  # JAX has started
        jax.config.update("jax_num_cpu_devices", count)
        os.environ["XLA_FLAGS"] = f"{PATIENCE} {flags}"


def _told() -> int | None:
    """How many devices of a CPU JAX's own option asks for."""
    count = jax.config.values["jax_num_cpu_devices"]
    return None if count < 0 else count


def make_mesh(count: int) -> Mesh | None:
    """The first `count` devices along the axis over which cohorts are spread; None for a single one."""
    if count == 1:
        return None
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def everywhere(mesh: Mesh | None) -> NamedSharding | None:
    """The sharding of what all devices of the mesh hold; None leaves it to JAX."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def by_client(mesh: Mesh | None) -> NamedSharding | None:
    """The sharding of arrays [K, N, ...] of which each device holds the rows of some clients."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(None, AXIS))


def fetch(tree: Any) -> Any:
    """The arrays as NumPy arrays, whole, on every process; all processes have to call this."""

    def whole(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            return multihost_utils.process_allgather(leaf, tiled=True)
        return leaf

    return jax.device_get(jax.tree.map(whole, tree))


def anywhere(flag: bool) -> bool:
    """Whether the flag is up on any process; all processes have to call this."""
    if not jax.distributed.is_initialized():  # to count the processes would start JAX, and fix its devices
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))
