"""How a worker and `benchmarks.peers` take turns: a request is a number of rounds, a reply is one line of JSON."""

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence


def turns(
    parameters: int,
    packages: Sequence[str],
    choices: Mapping[str, Callable[[], object]] | None = None,
) -> Iterator[int]:
    """Yields how many rounds to run; what passes until the next number is asked for is reported as their time.

    Single rounds first: one for what compiles, allocates and caches at the first call, then one with each choice, of
    which the fastest is kept. Then the worker says that it is ready and obeys the lines on standard input, where it
    waits without computing, until their end.

    Args:
        parameters: Of the model; the parent compares it with other workers'.
        packages: Whose versions are reported.
        choices: Ways to run, by the name that is reported, each put into force by its function.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no reply
    choices = choices or {"": lambda: None}
    yield 1
    seconds = {}
    for name, choose in choices.items():
        choose()
        start = time.perf_counter()
        yield 1
        seconds[name] = time.perf_counter() - start
    fastest = min(seconds, key=seconds.__getitem__)
    choices[fastest]()
    made_of = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    ready = {"parameters": parameters, "made_of": [*made_of, fastest], "seconds": seconds[fastest]}
    print(json.dumps(ready), file=replies)
    for line in sys.stdin:
        start = time.perf_counter()
        yield int(line)
        print(json.dumps({"seconds": time.perf_counter() - start}), file=replies)
