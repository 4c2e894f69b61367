"""Models as one short text: `resnet18`, `resnet18:norm=batch`, `mlp:hidden=200x100`. No JAX here.

After the name, options of the model's factory: whole numbers, decimals, true or false, words, and lists of whole
numbers joined by x.
"""

import re
from typing import Any

from fedjax_sparse.errors import UsageError

GRAMMAR = "NAME or NAME:option=value,option=value, such as resnet18:norm=batch or mlp:hidden=200x100"


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a model; whether they exist is for `fedjax_sparse.models.model.build` to say.

    Raises:
        UsageError: The text is no such specification.
    """
    name, _, rest = text.partition(":")
    pairs = [item.partition("=") for item in rest.split(",")] if rest else []
    if not name or text.endswith(":") or not all(key and value for key, _, value in pairs):
        raise UsageError(f"--model = {text!r} is not a model; allowed: {GRAMMAR}")
    return name, {key: _value(value) for key, _, value in pairs}


def _value(text: str) -> Any:
    if re.fullmatch(r"\d+(x\d+)+", text):
        return tuple(int(number) for number in text.split("x"))
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
