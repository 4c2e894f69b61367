"""What several commands say and read in the same way."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from inspect import get_annotations
from typing import TypeVar

from fedjax_sparse import errors
from fedjax_sparse.cli import flags
from fedjax_sparse.cli.flags import Section
from fedjax_sparse.config import run_config
from fedjax_sparse.config.cluster import ALONE, Cluster
from fedjax_sparse.config.options import Option, declared_options

PROG = "fedjax-sparse"


def at_the_door(work: Callable[[], int]) -> int:
    """Does what was asked for, and says in one line what went wrong: the exit code is then 1, 2 or 130."""
    # Warnings are for people here: one line, without the place in the code that they come from.
    warnings.showwarning = lambda message, *place: note(str(message))
    for stream in (sys.stdout, sys.stderr):  # a terminal without UTF-8 is told of an ü by its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = work()
        sys.stdout.flush()  # here, so that a reader who has gone is noticed here
        return code
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("FEDJAX_SPARSE_DEBUG") == "1":
            raise
        if isinstance(error, errors.UsageError):
            return _fail(str(error), 2)
        return _fail(
            str(error) if isinstance(error, errors.RunError) else f"{type(error).__name__}: {error}", 1
        )


def _fail(message: str, code: int) -> int:
    print(f"{PROG}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def note(message: str) -> None:
    """Says in one line what a person should know before a run starts."""
    print(f"{PROG}: note: {' '.join(message.split())}", file=sys.stderr)


@contextlib.contextmanager
def introduced(about: str, processes: Cluster = ALONE) -> Iterator[None]:
    """Says what is to come before JAX is imported, which takes seconds, and in the end how long all of it took."""
    from fedjax_sparse.experiments import progress

    with progress.silent(not processes.first), progress.timed():
        progress.say(about)
        with progress.doing("starting JAX"):
            importlib.import_module("fedjax_sparse.experiments.driving")
        yield


def value_of(flag: str, args: Sequence[str]) -> str | None:
    """The value of a flag that has to be known before the others can be read; of several the last one."""
    found = []
    for text, following in itertools.zip_longest(args, args[1:]):
        if text == flag:
            found.append(following)
        elif text.startswith(f"{flag}="):
            found.append(text.removeprefix(f"{flag}="))
    for unread in found[:-1]:
        note(f"{flag} {unread} is not read, since {flag} {found[-1]} comes after it")
    return found[-1] if found else None


def run_sections() -> Iterator[Section]:
    """The options of all runs, section by section, and the file that may state them."""
    for title, section in run_config.SECTIONS.items():
        yield Section(title, [*declared_options(section)])
    config_file = Option("config", str | None, None, "TOML file of options; flags win over it", None, None)
    yield Section("file", [config_file])


Arguments = TypeVar("Arguments")


def arguments(cls: type[Arguments], command: str, args: Sequence[str]) -> Arguments:
    """The arguments of a command other than `run`, as a dataclass of them."""
    known = [f"--{name.replace('_', '-')}" for name in get_annotations(cls)]
    return flags.run_tyro(cls, known, args, prog=f"{PROG} {command}", description=cls.__doc__ or "")
