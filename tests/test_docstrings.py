"""Examples in docstrings do what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import fedjax_sparse

PACKAGE = Path(fedjax_sparse.__file__).parent
WITH_EXAMPLES = sorted(file for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text())


def test_there_are_examples():
    assert len(WITH_EXAMPLES) >= 8


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=lambda file: file.stem)
def test_examples(file):
    name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
