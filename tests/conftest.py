"""What all tests share: JAX set up strictly on four CPU devices, reproducible property tests, real data."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

from tests import QUICK_COMPILATION, SIMPLE_LOOPS

# Read when JAX is first imported, and inherited by the command lines that tests start.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "0"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # what a test compiles is its own
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4 {QUICK_COMPILATION}"
)

import pytest
from hypothesis import settings

DATA_VARIABLE = "FEDJAX_SPARSE_DATA"

# Deadlines would time tests on a shared machine; a fixed seed makes a failure the same for everyone.
settings.register_profile("reproducible", deadline=None, derandomize=True, database=None)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; tests that use it are marked `data`."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        pytest.skip(f"needs real data: set {DATA_VARIABLE} to the folder that holds it")
    return Path(folder)


@pytest.fixture
def loops_as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs have the loops that users get: for equality bit for bit, since simple ones may round a sum apart in two."""
    from fedjax_sparse.devices import platforms

    if SIMPLE_LOOPS:
        options = {**platforms.CPU.compiler_options, "xla_cpu_use_fusion_emitters": True}
        monkeypatch.setattr(platforms, "CPU", platforms.CPU._replace(compiler_options=options))


def forget_programs() -> None:
    """Frees what was compiled: each program maps memory, and a process may hold only so many maps."""
    import jax

    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="module", autouse=True)
def fresh_programs() -> Iterator[None]:
    """No module leaves its programs to the next."""
    yield
    if "jax" in sys.modules:
        forget_programs()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With the data folder named, a data test that skips itself has failed: nothing may hide behind a skip."""
    report = yield
    if report.skipped and item.get_closest_marker("data") and os.environ.get(DATA_VARIABLE):
        report.outcome = "failed"
        report.longrepr = f"skipped although {DATA_VARIABLE} is set: {call.excinfo and call.excinfo.value}"
    return report
