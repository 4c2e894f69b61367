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


def choose(count: int | Literal["auto"], cohort_size: int) -> int:
    """How many devices a run uses: all accelerators that its cohort can occupy, but one device on CPU.

    A number asks for so many. Where only a CPU is there its cores become devices, unless JAX has started already.

    Raises:
        UsageError: More devices than there are, or none of the platform that the environment names.
    """
    if jax.distributed.is_initialized():
        return _all(count)
    if count != "auto" and count > 1:
        _make_devices_of_cores(min(count, cores()))
    _check_there_are_any()
    if count == "auto":
        return min(jax.device_count(), cohort_size) if platforms.current().side_by_side else 1
    available = jax.device_count()
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
        _make_devices_of_cores(count)
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


def _make_devices_of_cores(count: int) -> None:
    # Whoever sets the flag has said how many devices the CPU is to be.
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", count)


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
