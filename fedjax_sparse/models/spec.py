"""Models as one short text: `resnet18`, `resnet18:norm=batch`, `mlp:hidden=200x100`. No JAX here.

After the name, options of the model's factory: whole numbers, decimals, true or false, words, and lists of whole
numbers joined by x.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fedjax_sparse.errors import UsageError, check_range, unknown_name
from fedjax_sparse.models import INITS, MODELS

MAX_SIZE = 2**31 - 1  # of a layer

GRAMMAR = "NAME or NAME:option=value,option=value, such as resnet18:norm=batch or mlp:hidden=200x100"


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a model; whether they exist is for `check_options` to say.

    Raises:
        UsageError: The text is no such specification.
    """
    name, _, rest = text.partition(":")
    pairs = [item.partition("=") for item in rest.split(",")] if rest else []
    if not name or text.endswith(":") or not all(key and value for key, _, value in pairs):
        raise UsageError(f"--model = {text!r} is not a model; allowed: {GRAMMAR}")
    return name, {key: _value(value) for key, _, value in pairs}


def options_of(name: str) -> dict[str, Any]:
    """The options of a model and their defaults; of words, all that are allowed, the default first."""
    return {**MODELS[name].options, "init": INITS}


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a model, each in the type of its default; a single number may stand for a list of one.

    Raises:
        UsageError: An option that the model does not have, or a value that is not allowed.
    """
    known = options_of(name)
    for option in options:
        if option not in known:
            unknown_name(f"option of model {name}", option, known)
    return {option: _like(option, name, value, known[option]) for option, value in options.items()}


def _like(option: str, model: str, value: Any, default: Any) -> Any:
    words = isinstance(default, tuple) and all(isinstance(word, str) for word in default) and default
    if words:
        if value not in words:
            unknown_name(f"{option} of model {model}", str(value), words)
        return value
    what = f"option {option} of model {model}"
    if isinstance(default, tuple) and isinstance(value, int | Sequence) and not isinstance(value, str):
        value = (value,) if isinstance(value, int) else tuple(value)
    elif type(value) is not type(default):
        raise UsageError(f"{what} = {value!r} is not valid; allowed: a value such as {default!r}")
    for size in value if isinstance(value, tuple) else (value,):
        if type(size) is int:
            check_range(what, size, 1, MAX_SIZE)
    return value


def _value(text: str) -> Any:
    if re.fullmatch(r"\d{1,19}(x\d{1,19})+", text):
        return tuple(int(number) for number in text.split("x"))
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
