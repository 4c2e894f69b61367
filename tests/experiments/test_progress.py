"""What a person sees on a terminal."""

import io
import time

import pytest
from rich.console import Console

from fedjax_sparse.experiments import progress
from fedjax_sparse.experiments.progress import Pace, clock, display, facts, fitting

ROW = {"global_test_accuracy": 0.9694, "density": 0.1, "uplink_bytes": 2**22, "downlink_bytes": 2**33}


def test_a_run_starts_and_then_shows_how_fast_it_is():
    """Its rounds have been compiled before; the line is drawn when it appears and when it ends."""
    written = io.StringIO()
    with display(Console(file=written, force_terminal=True, width=120), rounds=10, done=4) as shown:
        assert "4/10" in (first := written.getvalue())
        assert "starting" in first
        assert "compiling" not in first
        shown.update(6, [])
    assert "6/10" in (last := written.getvalue().removeprefix(first))
    assert "rounds/s" in last


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_time_left_is_whole_in_a_terminal_of_any_width(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    shown = progress.Display(console, rounds=2000, done=0)
    shown.update(1999, [ROW])
    with console.capture() as captured:
        console.print(shown)
    (line,) = captured.get().splitlines()
    assert len(line) <= width
    assert "1999/2000  " in line
    assert "  0:00" in line
    assert (" left" in line) == (width > 20)
    assert ("sent" in line) == (width == 120)


def test_what_does_not_fit_is_left_out_whole():
    pieces = ["round 7/60", "1:02:03 left", "2.2 rounds/s", *facts([ROW])]
    assert fitting(pieces, 200) == pieces
    assert fitting(pieces, 40) == pieces[:3]
    assert fitting(pieces, 24) == pieces[:2]
    assert fitting(pieces, 23) == ["7/60", "1:02:03"]


def test_the_pace_is_that_of_the_last_rounds():
    """A hundred rounds of a second, then of a tenth: the slow ones are forgotten after half a minute."""
    pace = Pace(0.0, 0)
    assert pace.rounds_per_second is None
    for t in range(1, 101):
        pace.passed(float(t), t)
    assert pace.rounds_per_second == 1
    for i in range(1, 401):
        pace.passed(100 + i / 10, 100 + i)
    assert pace.rounds_per_second == pytest.approx(10)
    assert pace.seconds_to(600, now=141.0) == pytest.approx(9)


def test_time_before_the_first_round_slows_no_round():
    """A preparation and the test of round 0."""
    pace = Pace(0.0, 0)
    pace.passed(50.0, 0)
    pace.passed(52.0, 4)
    assert pace.rounds_per_second == 2


def test_rounds_longer_than_the_window_have_a_pace():
    pace = Pace(0.0, 0)
    for t in range(1, 4):
        pace.passed(100.0 * t, t)
    assert pace.rounds_per_second == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")]
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_what_takes_a_while_is_said_before_it_and_how_long_all_took_after_it(capsys):
    with progress.timed():
        with progress.doing("loading digits"):
            assert capsys.readouterr().err == "loading digits\n"
        time.sleep(0.06)
    assert float(capsys.readouterr().err.removesuffix(" s in all\n")) >= 0.1


def test_silence_ends_with_its_block(capsys):
    with progress.silent():
        progress.say("nobody hears this")
    with progress.silent(False):
        progress.say("this is heard")
    progress.say("and this")
    assert capsys.readouterr().err == "this is heard\nand this\n"
