"""The public names are lazy, complete and typed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fedjax_sparse

SOURCE = Path(fedjax_sparse.__file__)


def test_importing_the_package_imports_nothing_heavy():
    program = "import sys, fedjax_sparse; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert not {"jax", "numpy", "optax", "flax", "tensorflow_datasets"} & set(loaded.split())


@pytest.mark.parametrize("name", fedjax_sparse.__all__)
def test_every_public_name_resolves(name):
    assert getattr(fedjax_sparse, name) is not None
    assert name in dir(fedjax_sparse)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fedjax_sparse' has no attribute 'simulat'"):
        fedjax_sparse.simulat  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_type_checkers_see_the_same_names_from_the_same_places():
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname or alias.name: f"{node.module.removeprefix('fedjax_sparse.')}:{alias.name}"
        for node in ast.walk(checked)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert imported == fedjax_sparse._PUBLIC
    assert sorted([*imported, "__version__"]) == sorted(fedjax_sparse.__all__)
