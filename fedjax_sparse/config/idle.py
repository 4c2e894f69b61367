"""What a run asks for and will not get: options without effect, and schedules that run out of rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fedjax_sparse.config import lr_schedule
from fedjax_sparse.data.partition import PARTITIONS


def _takes(argument: str) -> Callable[[str], bool]:
    return lambda partition: argument in PARTITIONS[partition].arguments


# Option -> another one, and the values of that with which it has an effect.
NEEDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "alpha": ("partition", _takes("alpha")),
    "classes_per_client": ("partition", _takes("classes_per_client")),
    "init_checkpoint": ("init", bool),
    "client_nesterov": ("client_momentum", bool),
    "keep_momentum": ("client_momentum", bool),
    "restart_momentum": ("client_momentum", bool),
    "clip_living": ("clip_norm", bool),
    "server_momentum": ("server_opt", lambda name: name != "sgd"),
    "server_decay": ("server_opt", lambda name: name.startswith(("adam", "yogi"))),
    "server_tau": ("server_opt", lambda name: name.startswith(("adagrad", "adam", "yogi"))),
    "activation_floor": ("activation_pruning", bool),
    "cached_thresholds": ("activation_pruning", bool),
}


def notes(values: Mapping[str, Any], stated: Iterable[str]) -> Iterator[str]:
    """One line for each option that was stated and has no effect, and for each schedule that does not reach its end.

    Args:
        values: The options of a run and of its algorithm, by name.
        stated: The names of those that were asked for, not left at their defaults.
    """
    for name in stated:
        other, suffices = NEEDS.get(name, ("", bool))
        if other in values and not suffices(values[other]):
            with_value = f"{_flag(other)} {str(values[other]).lower()}"
            yield f"{_flag(name)} has no effect with {with_value}"
    for name, horizon in (("lr_schedule", "rounds"), ("epoch_lr_schedule", "local_epochs")):
        if values.get(horizon) is not None:
            yield from lr_schedule.shortfalls(values[name], values[horizon], _flag(name), _flag(horizon))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
