"""What a person sees on a terminal."""

import io

from rich.console import Console

from fedjax_sparse.experiments.progress import display


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
