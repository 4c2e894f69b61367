"""Ctrl-C and SIGTERM as a wish to stop soon, not as an accident."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}  # as shells report these signals


@contextlib.contextmanager
def collected(report: Callable[[str], Any]) -> Iterator[list[signal.Signals]]:
    """Collects SIGINT and SIGTERM in a list instead of obeying them; a second one is obeyed.

    Args:
        report: Called with one line when the first signal comes.
    """
    received: list[signal.Signals] = []

    def handler(number: int, frame: Any) -> None:
        del frame
        if received:
            raise KeyboardInterrupt
        received.append(signal.Signals(number))
        report("stopping after the running block; once more to stop at once")

    before = {number: signal.signal(number, handler) for number in EXIT_CODES}
    try:
        yield received
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
