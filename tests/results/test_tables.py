"""The table of runs, as text."""

import numpy as np
import pytest

from fedjax_sparse.results.tables import Summary, format_table


def line(score: str = "global_test_accuracy", clients: float = np.nan, seconds: float = np.nan) -> Summary:
    """A run of two seeds."""

    values = {
        "client_test_accuracy_last10": clients,
        "density": 0.05,
        "uplink_bytes": 550_859_160,
        "downlink_bytes": 999,
        "flops": 3.407e12,
        "flops_dense": 4e12,
        "simulated_seconds": seconds,
    }
    scores = {f"score_{which}": np.array([0.9, 0.92]) for which in ("best", "last10", "last")}
    return Summary("fedavg", 2, 60, score, **scores, **{k: np.array([v, v]) for k, v in values.items()})


def test_a_line_for_each_run():
    header, accuracy, loss, said = format_table([line(), line("global_test_loss")]).splitlines()
    assert said == "Means over seeds ± their standard deviation."
    assert header.split("  ")[0] == "run"
    assert [*filter(None, header.replace("last 10", "last-10").split())] == [
        "run",
        "seeds",
        "rounds",
        "score",
        "best",
        "last-10",
        "last",
        "density",
        "up",
        "down",
        "FLOPs",
    ]
    percent, plain = 3 * ["91.00", "±", "1.41"], 3 * ["0.9100", "±", "0.0141"]
    rest = ["5", "%", "550.9", "MB", "999", "B", "3.407", "T"]
    assert accuracy.split() == ["fedavg", "2", "60", "accuracy", "%", *percent, *rest]
    assert loss.split() == ["fedavg", "2", "60", "test", "loss", *plain, *rest]


def test_clients_accuracy_has_a_column_where_a_run_has_it():
    header, with_it, without, _ = format_table([line(clients=0.85), line()]).splitlines()
    start, end = header.index("clients %"), header.index("density")
    assert with_it[start:end].split() == ["85.00", "±", "0.00"]
    assert without[start:end].split() == ["-"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.25, "0.25 s"), (90, "1.5 min"), (86_399, "24 h"), (1e6, "11.57 d")]
)
def test_simulated_time_has_a_column_where_a_run_has_it(seconds, shown):
    header, with_it, without, _ = format_table([line(seconds=seconds), line()]).splitlines()
    start = header.index("time")
    assert (with_it[start:], without[start:]) == (shown, "-")


@pytest.mark.parametrize("width", [20, 80])
def test_in_a_narrow_terminal_every_number_has_a_line(width):
    lines = format_table([line(), line()], width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[:6] == lines[11:17]
    assert " ".join(lines[22:]) == "Means over seeds ± their standard deviation."
    assert lines[5] == "last 10 91.00 ± 1.41"


def test_of_one_seed_each_nothing_is_said_of_a_spread():
    one = line()._replace(
        seeds=1, **{f"score_{which}": np.array([0.9]) for which in ("best", "last10", "last")}
    )
    assert "±" not in format_table([one])


def test_a_terminal_that_is_wide_enough_changes_nothing():
    assert format_table([line()], 130) == format_table([line()])
