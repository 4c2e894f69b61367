"""What all benchmarks share: options that are refused in one line, and tables."""

import importlib
import json
import sys

import pytest

from benchmarks import timing

REFUSED = [
    ("all", "--repeats", "0"),
    ("inference", "--layers", "large"),
    ("inference", "--sparsities", "2"),
    ("overhead", "--devices", "0"),
    ("overhead", "--only", "typo"),
    ("overhead", "--repeats", "0"),
    ("overhead", "--repeats", "-1"),
    ("precision", "--rounds", "0"),
    ("scaling", "--out", "."),
    ("scaling", "--out", f"{__file__}/result.json"),
    ("seeds", "--seeds", "many"),
    ("selection", "--sizes", "5"),
]


@pytest.mark.parametrize(("script", "option", "value"), REFUSED)
def test_a_wrong_option_is_refused_in_one_line(script, option, value, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, option, value])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{script}").main()
    assert ended.value.code == 2
    assert f"error: argument {option}: " in capsys.readouterr().err.splitlines()[-1]


def test_interleaved_runs_take_turns():
    calls = []
    times = timing.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2)
    assert "".join(calls) == "ababab"
    assert all(len(taken.seconds) == 2 and taken.median >= 0 for taken in times.values())


def test_a_report_is_a_table_and_a_file(tmp_path, capsys):
    out = timing.writable_file(str(tmp_path / "folder" / "name.json"))
    timing.report(out, [{"n": 1_000, "ms": 1.234, "note": None}, {"n": 2, "ms": 250.4, "note": "b"}])
    assert "| 1,000 | 1.23 |      |" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["rows"][1] == {"n": 2, "ms": 250.4, "note": "b"}
    assert written["machine"]["cores"] == timing.cores()
