"""The accelerator's benchmark runs from one end to the other, in small, on a CPU."""

import json

import pytest

from benchmarks import accelerator
from fedjax_sparse.simulation import programs


@pytest.mark.slow
def test_every_row_has_a_time(tmp_path, capsys):
    out = tmp_path / "accelerator.json"
    assert accelerator.main(["--quick", "--repeats", "1", "--out", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert {row["part"] for row in rows} == set(accelerator.PARTS)
    assert all(row["images/s"] > 0 for row in rows), [row["note"] for row in rows]
    compared = [row for row in rows if row["part"] == "resnet" and row["how"] != "plain"]
    assert all(row["of plain"] > 0 for row in compared)
    assert "| part " in capsys.readouterr().out


def test_what_does_not_fit_is_a_row_with_its_reason(monkeypatch):
    def refuse(*_, **__):
        raise MemoryError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    monkeypatch.setattr(accelerator, "make_rounds", refuse)
    small = accelerator.tiny(accelerator.PARTS["mlp"])
    row = accelerator.measure(accelerator.Case("mlp", "tf32", 2), small, repeats=1)
    assert row["images/s"] is None
    assert row["note"].startswith("RESOURCE_EXHAUSTED")


def test_the_row_of_an_automatic_chunk_says_which_it_was(monkeypatch):
    compile_ahead = programs.compile_ahead

    def only_small(algorithm, setting, seeds):
        if setting.chunk > 2:
            raise MemoryError
        return compile_ahead(algorithm, setting, seeds)

    monkeypatch.setattr(programs, "compile_ahead", only_small)
    small = accelerator.tiny(accelerator.PARTS["mlp"])
    row = accelerator.measure(accelerator.Case("mlp", "tf32", "auto"), small, repeats=1)
    assert row["chunk"] == 2
    assert row["images/s"] > 0


def test_what_not_even_compiles_is_a_row_too(monkeypatch):
    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(programs, "compile_ahead", refuse)
    small = accelerator.tiny(accelerator.PARTS["mlp"])
    row = accelerator.measure(accelerator.Case("mlp", "tf32", "auto"), small, repeats=1)
    assert row["images/s"] is None
    assert row["note"].startswith("out of memory while compiling with 1 clients")
