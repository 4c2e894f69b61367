"""How a worker and `benchmarks.peers` take turns: a request is a number of rounds, a reply is one line of JSON."""

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence


def turns(parameters: int, packages: Sequence[str]) -> Iterator[int]:
    """Yields how many rounds to run; what passes until the next number is asked for is reported as their time.

    Twice a single round first, for what compiles, allocates and caches at the first call. Then the worker says that
    it is ready and obeys the lines on standard input, where it waits without computing, until their end.

    Args:
        parameters: Of the model; the parent compares it with other workers'.
        packages: Whose versions are reported.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no reply
    versions = {name: importlib.metadata.version(name) for name in packages}
    yield 1
    start = time.perf_counter()
    yield 1
    seconds = time.perf_counter() - start
    print(json.dumps({"parameters": parameters, "versions": versions, "seconds": seconds}), file=replies)
    for line in sys.stdin:
        start = time.perf_counter()
        yield int(line)
        print(json.dumps({"seconds": time.perf_counter() - start}), file=replies)
