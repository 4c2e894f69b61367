"""The notebooks run from a clean kernel, in a folder of their own, and are stored without outputs."""

import os
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.py"))


def test_all_notebooks_are_here_as_text_and_what_jupytext_makes_of_them_is_not_kept():
    assert [name[:3] for name in NOTEBOOKS] == ["01_", "02_", "03_", "04_"]
    assert {path.suffix for path in FOLDER.iterdir() if path.is_file()} - {".ipynb"} == {".py"}
    assert "*.ipynb" in (FOLDER.parent / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_a_clean_kernel(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = jupytext.read(FOLDER / name)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    printed = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert printed, "nothing was shown"
