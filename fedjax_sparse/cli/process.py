"""The process around a command line: Ctrl-C from its first moment on, and an end that XLA's threads cannot spoil."""

import os
import signal
import sys
from typing import Any, NoReturn

INTERRUPTED = 130  # as shells report a process that Ctrl-C has ended
TERMINATED = 143


def run() -> NoReturn:
    """Runs the command line of this process."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as behind `nohup ... &`
        from fedjax_sparse.cli.commands import main
    else:
        # A KeyboardInterrupt may come out of an import as any other error, or not at all.
        signal.signal(signal.SIGINT, _stop)
        from fedjax_sparse.cli.commands import main

        signal.signal(signal.SIGINT, signal.default_int_handler)
    leave(main())


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code.

    After a signal it ends at once: XLA may still be compiling in threads of its own, for which Python would wait, and
    which crash when they meet an interpreter that has been taken down.
    """
    if code in (INTERRUPTED, TERMINATED):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _stop(*_: Any) -> NoReturn:
    os.write(2, b"fedjax-sparse: error: interrupted\n")
    os._exit(INTERRUPTED)
