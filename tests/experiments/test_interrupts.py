"""Signals while something runs that Python cannot interrupt."""

import signal
import subprocess
import sys

import pytest

from fedjax_sparse.experiments import interrupts

BUSY = """
import hashlib
from fedjax_sparse.experiments import interrupts

with interrupts.collected(lambda line: print(line, flush=True), lambda: print("as it was", flush=True)):
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)
"""


@pytest.mark.parametrize(("number", "code"), interrupts.EXIT_CODES.items())
def test_the_first_is_answered_and_the_second_obeyed_at_once(number: signal.Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == "busy\n"
        busy.send_signal(number)
        assert busy.stdout.readline() == "stopping after the running block; once more to stop at once\n"
        busy.send_signal(number)
        assert busy.stdout.read() == "as it was\n"
    assert busy.returncode == code


def test_a_signal_is_in_the_list_and_handlers_are_as_they_were() -> None:
    lines: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with interrupts.collected(lines.append, lambda: None) as received:
        assert received == []
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
    assert len(lines) == 1
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1
