"""Ctrl-C and SIGTERM as a wish to stop soon, not as an accident."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}  # as shells report these signals


@contextlib.contextmanager
def collected(report: Callable[[str], Any], at_once: Callable[[], Any]) -> Iterator[list[signal.Signals]]:
    """Collects SIGINT and SIGTERM in a list instead of obeying them; a second one ends the process.

    While XLA computes, Python runs none of its handlers: a thread hears of signals as they come, says that the first
    one has been heard, and ends the process at the second. That is safe at any moment, as being killed is.

    Args:
        report: Called with one line when the first signal comes.
        at_once: Called before the process ends, to leave the terminal as it was.
    """
    received: list[signal.Signals] = []
    heard, told = os.pipe()
    os.set_blocking(told, False)

    def listen() -> None:
        numbers = iter(lambda: os.read(heard, 1)[0], 0)
        coming = (number for number in numbers if number in EXIT_CODES)
        for count, number in enumerate(coming):
            if count:
                at_once()
                os._exit(EXIT_CODES[signal.Signals(number)])
            report("stopping after the running block; once more to stop at once")

    def handler(number: int, frame: Any) -> None:
        del frame
        received.append(signal.Signals(number))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    before = {number: signal.signal(number, handler) for number in EXIT_CODES}
    others = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    try:
        yield received
    finally:
        signal.set_wakeup_fd(others)
        for number, previous in before.items():
            signal.signal(number, previous)
        os.write(told, bytes(1))
        listener.join()
        os.close(heard)
        os.close(told)
