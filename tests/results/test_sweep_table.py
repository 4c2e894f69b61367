"""Who wins a sweep, from scores written by hand."""

import csv

import pytest

from fedjax_sparse.config.sweep import Sweep
from fedjax_sparse.records import trials as records
from fedjax_sparse.records.trials import Tried
from fedjax_sparse.results import sweep_table as results

RATES = (0.1, 0.2, 0.3)
ASKED = Sweep(("fedavg", "fedprox"), grid={"client_lr": RATES}, last=2)
TRIALS = ASKED.trials()


def tried(rate: float, late: float, seed: int = 0, algorithm: str = "fedavg", **more) -> Tried:
    """Tests after rounds 2 to 4; only the last two count."""
    scores = [1.0, late - 0.1, late + 0.1]
    return Tried(algorithm, {"client_lr": rate}, seed, [2, 3, 4], scores, [9.0] * 3, None)._replace(**more)


def winner(*some: Tried) -> float | None:
    line = results.rows(TRIALS, some, ASKED, {})[0]
    return line.winner and line.winner.trial.values["client_lr"]


def test_the_best_mean_over_seeds_of_the_last_rounds_wins():
    assert winner(tried(0.1, 0.5), tried(0.1, 0.7, 1), tried(0.2, 0.8), tried(0.2, 0.3, 1)) == 0.1


def test_of_equal_settings_the_first_of_the_grid_wins_whenever_it_was_tried():
    assert winner(tried(0.3, 0.5), tried(0.1, 0.5), tried(0.2, 0.5)) == 0.1


def test_a_setting_of_which_a_seed_diverged_cannot_win():
    ended = tried(0.2, 0.9, 1, diverged_at=3, rounds=[2], accuracy=[1.0], loss=[9.0])
    assert winner(tried(0.1, 0.5), tried(0.2, 0.9), ended) == 0.1
    assert winner(ended) is None


def test_without_classes_the_smallest_loss_wins():
    losses = [tried(rate, 0, accuracy=None, loss=[0, rate, rate]) for rate in RATES]
    assert winner(*losses) == 0.1


def test_the_table_says_where_a_better_value_may_lie_and_what_failed():
    some = [tried(rate, rate) for rate in RATES]
    lines = results.rows(TRIALS, some, ASKED, {"fedprox": "KeyError: 'layer'"})
    text = results.markdown(lines, ASKED, some)
    first, second = (line.split(" | ") for line in text.splitlines()[2:4])
    assert first[2:] == ["client_lr = 0.3", "30.00", "client_lr is the largest tried |"]
    assert second[1:] == ["0", "none", "", "KeyError: 'layer' |"]


def test_the_csv_has_every_setting_and_names_the_winner(tmp_path):
    some = [tried(rate, 0.5 - rate) for rate in RATES]
    results.write_csv(results.rows(TRIALS, some, ASKED, {}), tmp_path / "table.csv")
    rows = [*csv.DictReader((tmp_path / "table.csv").read_text().splitlines())]
    assert [(row["client_lr"], row["won"]) for row in rows] == [("0.1", "1"), ("0.2", "0"), ("0.3", "0")]


def test_records_come_back_as_they_were_written(tmp_path):
    assert records.read(tmp_path) == []
    some = [tried(0.1, 0.5), tried(0.2, 0.5, diverged_at=3)]
    records.write(tmp_path, some)
    assert records.read(tmp_path) == some


def test_damaged_records_are_said_to_be_damaged(tmp_path):
    (tmp_path / records.FILE).write_text("{}\n")
    with pytest.raises(records.RunError, match="is damaged"):
        records.read(tmp_path)
