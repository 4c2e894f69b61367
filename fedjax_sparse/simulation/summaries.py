"""What a row says of tests: the spread of accuracies over clients, and measures that look at classes. On the host."""

from typing import Any

import numpy as np

from fedjax_sparse.simulation.evaluation import Tested


def as_one_model(assessment: Any) -> Any:
    """The `Tested` of one seed's `programs.Assessment`: the model deployed, or those of all clients in its place.

    Then accuracies are by client and entries a mean. Scores on the whole test set are those of the server's model or,
    where there is none, of its examples dealt to the clients in turn.
    """
    clients, model = assessment.clients, assessment.deployed or assessment.server
    if clients is None:
        return assessment.deployed
    scores = clients.dealt if model is None else model.scores
    return Tested(scores, clients.accuracy, clients.nonzero.mean(axis=0))


def spread(name: str, of_clients: np.ndarray | None) -> dict[str, float]:
    """Mean, standard deviation and mean of the worst tenth of values f[N], at least one; without those that are NaN."""
    known = np.sort(of_clients[~np.isnan(of_clients)].astype(np.float64)) if of_clients is not None else ()
    if not len(known):
        return {}
    worst = known[: -(-len(known) // 10)]
    return {
        name: float(np.mean(known)),
        f"{name}_std": float(np.std(known)),
        f"{name}_worst_tenth": float(np.mean(worst)),
    }


def by_class(confusion: np.ndarray | None) -> dict[str, float]:
    """Accuracy of each class, their mean (balanced accuracy) and macro F1, over the classes that the test set has.

    Args:
        confusion: f[classes, classes], true classes by rows and predicted ones by columns; None gives no columns.
    """
    if confusion is None:
        return {}
    table = np.asarray(confusion, np.float64)
    right, held, taken = np.diagonal(table), table.sum(axis=1), table.sum(axis=0)
    here = held > 0
    recall = right[here] / held[here]
    f1 = 2 * right[here] / (held + taken)[here]
    classes = np.flatnonzero(here)
    return {
        "global_balanced_accuracy": float(np.mean(recall)),
        "global_macro_f1": float(np.mean(f1)),
        **{f"class_accuracy/{i}": float(value) for i, value in zip(classes, recall, strict=True)},
    }
