"""What was compiled once is read the next time, and nothing about a run but its start is changed by that."""

import os
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache as of_jax

from fedjax_sparse.devices import compilation_cache
from fedjax_sparse.simulation import driver, programs
from tests import toy

events: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def counted_events():
    def count(event: str, **details: str | int) -> None:
        events[event.rpartition("/")[2]] += 1

    jax.monitoring.register_event_listener(count)
    yield
    jax.monitoring.unregister_event_listener(count)


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    """The tests' JAX has no cache; here it may have one, until the end of each test."""
    monkeypatch.setattr(compilation_cache, "MIN_COMPILE_SECONDS", 0.0)
    least = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    of_jax.reset_cache()
    jax.config.update("jax_enable_compilation_cache", True)
    yield
    jax.config.update("jax_enable_compilation_cache", False)
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    of_jax.reset_cache()


def folder() -> str | None:
    return jax.config.values["jax_compilation_cache_dir"]


def compiled_and_run(devices=1):
    """The memory by XLA's account, and the last state and costs of a run, all compiled anew."""
    jax.clear_caches()
    events.clear()
    problem = toy.setting(jnp.float32, devices=devices)
    algorithm = toy.algorithm("flare", problem)
    program, footprint = programs.compile_ahead(algorithm, problem)
    found = events["cache_hits"]
    *_, last = driver.run(algorithm, problem, [0], evaluate_at=lambda t: False, program=program)
    return found, footprint, jax.device_get(last.state), last.ledgers[0].totals


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_read_is_what_was_compiled(tmp_path, count):
    plain = compiled_and_run(count)
    assert events["cache_misses"] == 0
    compilation_cache.enable(tmp_path)
    first = compiled_and_run(count)
    assert events["cache_misses"] > 0
    again = compiled_and_run(count)
    assert (events["cache_misses"], again[0] > first[0]) == (0, True)
    assert [*tmp_path.glob("compiled/*/jit_*")]
    assert again[1].temporary > 0
    for other in (first, again):
        assert other[1] == plain[1]
        jax.tree.map(np.testing.assert_array_equal, other[2], plain[2])
        assert other[3] == plain[3]


def test_a_truncated_entry_is_compiled_anew(tmp_path):
    """As a full disk or a killed process might leave it: said, and no more."""
    compilation_cache.enable(tmp_path)
    first = compiled_and_run()
    for entry in tmp_path.glob("compiled/*/jit_*-cache"):
        entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])
    with pytest.warns(UserWarning, match="Error reading persistent compilation cache entry"):
        again = compiled_and_run()
    jax.tree.map(np.testing.assert_array_equal, again[2], first[2])
    assert again[3] == first[3]


def test_the_folder_lies_in_the_cache_of_the_data(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDJAX_SPARSE_CACHE", str(tmp_path))
    compilation_cache.enable(None)
    assert str(folder()).startswith(str(tmp_path / "compiled"))


def test_jax_variables_win(tmp_path):
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.enable(tmp_path / "unused")
    assert folder() is None
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    compilation_cache.enable(tmp_path / "unused")
    assert folder() == str(tmp_path / "mine")
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.warns(UserWarning, match="cannot be written: the program is compiled again") as caught:
        compilation_cache.enable(blocked)
    assert len(caught) == 1
    assert folder() is None


def test_processes_of_a_cluster_share_no_private_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    compilation_cache.enable(tmp_path)
    assert folder() is None
