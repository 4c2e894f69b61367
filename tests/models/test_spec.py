import importlib
import inspect

import pytest

from fedjax_sparse.errors import UsageError
from fedjax_sparse.models import INITS, MODELS, initializers
from fedjax_sparse.models.spec import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mlp", ("mlp", {})),
        ("resnet18:norm=batch", ("resnet18", {"norm": "batch"})),
        ("mlp:hidden=200x100", ("mlp", {"hidden": (200, 100)})),
        ("gru:hidden=8,rate=0.5,flag=true", ("gru", {"hidden": 8, "rate": 0.5, "flag": True})),
    ],
)
def test_what_is_written_is_what_is_meant(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":norm=batch", "mlp:", "mlp:hidden", "mlp:hidden=", "mlp:=3", "mlp:a=1,,b=2"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match="resnet18:norm=batch"):
        parse(text)


@pytest.mark.parametrize("name", MODELS)
def test_a_card_has_the_options_of_its_factory(name):
    module, function = MODELS[name].factory.split(":")
    factory = getattr(importlib.import_module(f"fedjax_sparse.models.{module}"), function)
    parameters = inspect.signature(factory).parameters
    defaults = {o: p.default for o, p in parameters.items() if o not in ("input_shape", "classes", "dtype")}
    choices = {"norm"}
    assert {o: d[0] if o in choices else d for o, d in MODELS[name].options.items()} == defaults


def test_the_initial_weights_are_those_there_are():
    assert ("own", *initializers.SCHEMES) == INITS
