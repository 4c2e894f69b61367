import pytest

from fedjax_sparse.errors import UsageError
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
