"""Compiled programs kept on disk, so that a run that was started before starts sooner (JAX's persistent cache)."""

import contextlib
import os
import platform
import warnings
import zlib
from pathlib import Path

import jax

from fedjax_sparse.data import cache

MIN_COMPILE_SECONDS = 0.1  # what compiles faster is hardly worth a file


def enable(cache_dir: str | Path | None) -> None:
    """Keeps what is compiled from now on in the folder `compiled` beside the decoded data, and reads it from there.

    An entry belongs to the program, its options, the device and JAX's version; it holds what the compiler made, so
    that a run's numbers do not depend on the cache. Entries may be deleted at any time.

    JAX's own variables win: with JAX_ENABLE_COMPILATION_CACHE=false there is no cache, and JAX_COMPILATION_CACHE_DIR
    names another folder. Only there do several processes share a cache: all of them have to see the same entries, or
    those that compile wait for those that do not. Where the folder cannot be written, there is a warning and no cache.

    Args:
        cache_dir: As of the data, see `fedjax_sparse.data.datasets.load`.
    """
    chosen = jax.config.values
    decided = chosen["jax_compilation_cache_dir"] is not None or not chosen["jax_enable_compilation_cache"]
    if decided or jax.distributed.is_initialized():
        return
    folder = cache.folder(cache_dir) / "compiled" / _processor()
    with contextlib.suppress(OSError):  # said below
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        warnings.warn(f"{folder} cannot be written: the program is compiled again in every run", stacklevel=2)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)


def _processor() -> str:
    """Stands for what the processor can do: a home may be shared by machines on which each other's programs crash."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    features = [line for line in lines if line.lower().startswith(("flags", "features"))][:1]
    return f"{platform.machine()}-{zlib.crc32(' '.join(features or [platform.processor()]).encode()):08x}"
