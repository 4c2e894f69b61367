"""The books: exact sums past 2**63, means over those who trained, and when a seed counts as diverged."""

import json
from typing import Any

import numpy as np
import pytest

from fedjax_sparse.costs.prices import Totals
from fedjax_sparse.simulation.ledger import DIVERGED, Ledger, _scalar, sent_density, train_loss
from fedjax_sparse.types import Message, Metrics, Ranking, Work


def metrics(loss, examples) -> Metrics:
    counts: Any = np.asarray(examples, np.int32)
    nothing = Message(*(counts * 0,) * 6)
    live = counts[:, None] * 0
    losses: Any = np.asarray(loss)
    return Metrics(nothing, nothing, Work(counts, counts, live, live, live), losses, {})


def test_train_loss_weighs_examples_and_passes_over_the_absent():
    assert train_loss(metrics([1.0, 4.0, np.nan], [3, 1, 0])) == (3 * 1 + 4) / 4
    assert train_loss(metrics([0.0, 0.0], [0, 0])) is None


def test_the_density_of_what_was_sent_is_that_of_all_messages_together():
    """Counts whose sum is past int32, and a client that sent nothing."""
    size: Any = np.array([2**31 - 1, 2**31 - 1, 0], np.int32)
    values: Any = np.array([2**30, 2**29, 0], np.int32)
    none: Any = np.zeros(3, np.int32)
    sent: Any = Message(size, values, none, none, none, none)
    assert sent_density(sent) == (2**30 + 2**29) / (2**32 - 2)
    assert sent_density(Message(*(none,) * 6)) is None


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


def test_what_is_logged_by_client_is_a_mean_over_those_who_trained_each_once():
    steps = np.asarray([1000, 1, 0])
    assert _scalar(np.asarray([1.0, 3.0, 500.0]), steps > 0) == 2
    assert _scalar(np.asarray([1.0, 3.0, 500.0]), steps < 0) is None
    assert _scalar(np.asarray(7.0), steps > 0) == 7
    pairs = np.asarray([[1.0, 0.2, 9.0], [0.4, 1.0, 9.0], [9.0, 9.0, 9.0]])
    assert _scalar(pairs, steps > 0) == pytest.approx(0.3)  # of two different clients who trained
    assert _scalar(pairs, np.asarray([True, False, False])) is None


def with_ranking(nonzero, by_index, examples=(3, 0)) -> Metrics:
    counts: Any = (np.asarray(nonzero, np.int32), np.asarray(by_index, np.int32))
    return metrics([1.0, 1.0], examples)._replace(ranking=Ranking(*counts))


def test_a_ranking_that_scores_did_not_decide_is_said_once():
    ledger = Ledger().ranked(1, metrics([1.0], [3])).ranked(2, with_ranking(7, 0))
    assert ledger.tied_at is None
    with pytest.warns(
        UserWarning, match="5 of the weights kept in round 3 .* and 7 scores were not zero"
    ) as said:
        ledger = ledger.ranked(3, with_ranking(7, 5)).ranked(4, with_ranking(6, 6))
    assert (len(said), ledger.tied_at) == (1, 3)
    with pytest.warns(UserWarning, match="kept before round 1"):
        assert Ledger().ranked(0, with_ranking(0, 5)).tied_at == 0


def test_only_the_rankings_of_those_who_trained_are_said():
    assert Ledger().ranked(1, with_ranking([4, 0], [0, 9])).tied_at is None
    with pytest.warns(UserWarning, match="2 of the weights kept in round 1 .* and 4 scores were not zero"):
        Ledger().ranked(1, with_ranking([4, 0], [2, 9]))


def test_ledgers_survive_json_with_integers_of_any_size():
    ledger = Ledger(Totals(2**70, 1, 2, 3), 1.5, 2.3)
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger


def test_a_run_that_began_before_values_were_counted_never_says_how_many_were_sent():
    old = Ledger(Totals(1, 2, 3, 4)).to_dict()
    del old["totals"]["values"]
    assert (Ledger.from_dict(old).totals + Totals(1, 1, 1, 1, 0.0, 7)) == Totals(2, 3, 4, 5, 0.0, None)
