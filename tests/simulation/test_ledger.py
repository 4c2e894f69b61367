"""The books: exact sums past 2**63, means over those who trained, and when a seed counts as diverged."""

import json
from typing import Any

import numpy as np
import pytest

from fedjax_sparse.costs.prices import Totals
from fedjax_sparse.simulation.ledger import DIVERGED, Ledger, train_loss
from fedjax_sparse.types import Message, Metrics, Work


def metrics(loss, examples) -> Metrics:
    counts: Any = np.asarray(examples, np.int32)
    nothing = Message(*(counts * 0,) * 5)
    live = counts[:, None] * 0
    losses: Any = np.asarray(loss)
    return Metrics(nothing, nothing, Work(counts, counts, live, live, live), losses, {})


def test_train_loss_weighs_examples_and_passes_over_the_absent():
    assert train_loss(metrics([1.0, 4.0, np.nan], [3, 1, 0])) == (3 * 1 + 4) / 4
    assert train_loss(metrics([0.0, 0.0], [0, 0])) is None


@pytest.mark.parametrize(
    ("losses", "diverged_at"),
    [
        ([2.0, 1.0, 0.5], None),
        ([2.0, float("nan"), 1.0], 2),
        ([float("inf")], 1),
        ([2.0, 2.0 * DIVERGED, 2.0 * DIVERGED + 1], 3),
        ([None, 2.0, None, 3.0 * DIVERGED], 4),
        ([-1.0, -0.5, -2.0], None),
    ],
)
def test_divergence(losses, diverged_at):
    ledger = Ledger()
    for t, loss in enumerate(losses, start=1):
        ledger = ledger.judged(t, loss)
    assert ledger.diverged_at == diverged_at


def test_ledgers_survive_json_with_integers_of_any_size():
    ledger = Ledger(Totals(2**70, 1, 2, 3), 1.5, 2.3)
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger
