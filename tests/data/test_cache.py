"""The cache: reads once, notices change and damage, and does without where it cannot write."""

import os
from pathlib import Path

import numpy as np
import pytest

from fedjax_sparse.data import cache


class Reader:
    """Counts how often it is called."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {
            "x": np.arange(1_000, dtype=np.uint8).reshape(100, 10).T,
            "y": np.array([self.calls], np.int32),
        }


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def entry(folder):
    (only,) = folder.iterdir()
    return only


def test_what_was_read_is_mapped_from_then_on(folder, source):
    read = Reader()
    first, second = (cache.cached(folder, "a/b", [source], read) for _ in range(2))
    assert read.calls == 1
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
        assert array.dtype == second[name].dtype
        assert not second[name].flags.writeable
    assert isinstance(second["x"].base, np.memmap)
    assert sorted(path.name for path in entry(folder).iterdir()) == ["index.json", "x.npy", "y.npy"]


def test_a_changed_source_is_read_again(folder, source):
    read = Reader()
    cache.cached(folder, "name", [source], read)
    cache.cached(folder, "other", [source], read)
    assert read.calls == 2
    source.write_bytes(b"longer content")
    assert cache.cached(folder, "name", [source], read)["y"] == 3
    os.utime(source, ns=(0, 0))
    assert cache.cached(folder, "name", [source], read)["y"] == 4


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: (entry / "x.npy").write_bytes((entry / "x.npy").read_bytes()[:500]),
        lambda entry: (entry / "x.npy").write_bytes(b""),
        lambda entry: (entry / "x.npy").write_bytes(b"not an array"),
        lambda entry: (entry / "y.npy").unlink(),
        lambda entry: flip(entry / "x.npy"),
        lambda entry: (entry / "index.json").unlink(),
        lambda entry: (entry / "index.json").write_text("{"),
        lambda entry: (entry / "index.json").write_text("[]"),
        lambda entry: (entry / "index.json").write_text('{"crc32": 3}'),
    ],
)
def test_a_damaged_entry_is_read_again_and_repaired(folder, source, damage):
    read = Reader()
    good = cache.cached(folder, "name", [source], read)
    damage(entry(folder))
    for _ in range(2):
        np.testing.assert_array_equal(cache.cached(folder, "name", [source], read)["x"], good["x"])
    assert read.calls == 2


def test_without_a_writable_folder_there_is_one_warning(tmp_path, source):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    read = Reader()
    with pytest.warns(UserWarning, match="blocked/cache cannot be written"):
        assert cache.cached(blocked / "cache", "name", [source], read)["y"] == 1
    # A second warning would be an error.
    assert cache.cached(blocked / "cache", "name", [source], read)["y"] == 2


def test_a_reader_that_fails_leaves_nothing(folder, source):
    def read():
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        cache.cached(folder, "name", [source], read)
    assert not folder.exists()


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDJAX_SPARSE_CACHE", str(tmp_path))
    assert cache.folder() == tmp_path
    assert cache.folder("~/chosen") == Path.home() / "chosen"
    monkeypatch.delenv("FEDJAX_SPARSE_CACHE")
    assert cache.folder().parts[-2:] == (".cache", "fedjax-sparse")
