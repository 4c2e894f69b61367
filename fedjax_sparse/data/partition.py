"""Who holds which examples, by name of the rule: `dealing` has the rules."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedjax_sparse.data.dealing import (
    classes,
    consecutive,
    dirichlet,
    dirichlet_by_class,
    dirichlet_by_turns,
    iid,
    natural,
    power_law,
    shards,
)
from fedjax_sparse.errors import check_range, unknown_name


class Rule(NamedTuple):
    """A partition as the command line offers it.

    Attributes:
        function: (labels, clients, seed, **arguments) -> rows of each client.
        description: One line.
        arguments: Which of `alpha`, `classes_per_client` and `client_train` the function takes.
    """

    function: Callable[..., list[np.ndarray]]
    description: str
    arguments: tuple[str, ...] = ()


PARTITIONS: dict[str, Rule] = {
    "iid": Rule(iid, "a random deal into equal sizes"),
    "consecutive": Rule(consecutive, "runs of neighbours in the order of the data set, of equal sizes"),
    "dirichlet": Rule(dirichlet, "each class over the clients by Dirichlet(alpha); sizes vary", ("alpha",)),
    "dirichlet-by-class": Rule(
        dirichlet_by_class, "each client's classes by Dirichlet(alpha); equal sizes", ("alpha",)
    ),
    "dirichlet-by-turns": Rule(
        dirichlet_by_turns, "the same, clients drawing an example at a time, in random order", ("alpha",)
    ),
    "shards": Rule(
        shards, "sorted by label, k equal shards per client (k = classes_per_client)", ("classes_per_client",)
    ),
    "classes": Rule(classes, "exactly classes_per_client classes per client", ("classes_per_client",)),
    "natural": Rule(natural, "the data set's own users; labels and sizes as they are", ("client_train",)),
    "power-law": Rule(power_law, "labels at random, sizes proportional to rank**-alpha", ("alpha",)),
}


def make(
    name: str,
    labels: np.ndarray,
    clients: int,
    *,
    seed: int,
    alpha: float,
    classes_per_client: int,
    client_train: np.ndarray | None,
) -> list[np.ndarray]:
    """The rows of each client under the partition called `name`; arguments that it does not take are ignored.

    Args:
        name: A key of `PARTITIONS`.
        labels: [M, ...]; one integer label per example where the rule goes by labels.
        clients: N, from 1 to M.
        seed: The partition seed, >= 0, the only source of randomness.
        alpha: Dirichlet concentration, or exponent of the power law; > 0.
        classes_per_client: Classes (or shards) per client.
        client_train: int[M], owners, or None.

    Raises:
        UsageError: Unknown name, or a request that these labels cannot meet.
    """
    if name not in PARTITIONS:
        unknown_name("partition", name, PARTITIONS)
    check_range("partition_seed", seed, 0)
    rule = PARTITIONS[name]
    given = {"alpha": alpha, "classes_per_client": classes_per_client, "client_train": client_train}
    return rule.function(labels, clients, seed, **{argument: given[argument] for argument in rule.arguments})


def class_counts(parts: list[np.ndarray], labels: np.ndarray, classes: int) -> np.ndarray:
    """i64[N, classes]: how many examples of each class each client holds; labels are int[M] in [0, classes)."""
    return np.stack([np.bincount(labels[rows], minlength=classes) for rows in parts])
