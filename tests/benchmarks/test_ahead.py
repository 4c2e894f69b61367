"""Compiling ahead: a row for each combination, whatever fails; programs for the platform that is named."""

import json

import pytest

from benchmarks import accelerator, ahead
from fedjax_sparse.devices import platforms


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(ahead, "CASES", {"tiny": accelerator.tiny(ahead.CASES["mlp"])})


def test_rows_have_what_a_program_needs_and_a_failure_is_one(tmp_path, capsys):
    out = tmp_path / "ahead.json"
    flags = [
        "--workloads",
        "tiny",
        "--algorithms",
        "fedavg",
        "no-such-algorithm",
        "--chunks",
        "2",
        "--out",
        str(out),
    ]
    ahead.main(flags)
    good, bad = json.loads(out.read_text())["rows"]
    assert (good["platform"], good["chunk"], good["failed"]) == ("1 x cpu", 2, None)
    assert all(good[name] > 0 for name in ("kept MB", "GFLOP", "GB accessed"))
    assert bad["failed"].startswith("UsageError: unknown algorithm")
    assert bad.keys() == good.keys()
    assert "| compile CPU s |" in capsys.readouterr().out


def test_programs_are_made_for_what_is_named(monkeypatch):
    class Topology:
        devices = tuple("abcd")

    monkeypatch.setattr(ahead.topologies, "get_topology_desc", lambda *_, **__: Topology)
    with ahead.made_for("v5e", 2) as mesh:
        assert mesh is not None
        assert mesh.shape == {"clients": 2}
        assert platforms.current() == platforms.accelerator("tpu")
    with (
        pytest.raises(SystemExit, match="--chips = 8 is more than the 4 of v5e:2x2"),
        ahead.made_for("v5e", 8),
    ):
        pass


def test_a_missing_compiler_is_one_line(monkeypatch):
    def missing(*_, **__):
        raise RuntimeError("no libtpu")

    monkeypatch.setattr(ahead.topologies, "get_topology_desc", missing)
    message = r"no compiler for v5e: pip install libtpu \(no libtpu\)"
    with pytest.raises(SystemExit, match=message), ahead.made_for("v5e", 1):
        pass
