"""What a person sees while a run goes on: a live line on a terminal, a plain line now and then elsewhere."""

import textwrap
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from fedjax_sparse.costs.units import human_bytes

PLAIN_LINES = 10  # how many lines a whole run prints where there is no terminal
WINDOW = 30.0  # seconds whose rounds say how fast a run is now
NARROWEST_BAR, WIDEST_BAR = 10, 20
STDERR = Console(stderr=True)


class Display:
    """Round, time left, rounds a second, accuracy, density and bytes: as many of them, in this order, as fit."""

    def __init__(self, console: Console, rounds: int, done: int, before: int = 0, name: str = ""):
        """`done` of `rounds` are done; of several runs, these have a `name`, and `before` are the rounds of others."""
        self._name, self._before = name, before
        self._console = console
        self._rounds = rounds
        self._done = done
        self._printed = done
        self._pace = Pace(time.perf_counter(), done)
        self._facts: Sequence[str] = ()

    def update(self, t: int, rows: list[dict[str, Any]]) -> None:
        """Shows round t; `rows` are the latest metrics of the seeds, empty between evaluations."""
        t += self._before
        self._done = t
        self._pace.passed(time.perf_counter(), t)
        if rows:
            self._facts = facts(rows)
        due = t - self._printed >= self._rounds / PLAIN_LINES or t == self._rounds
        if not self._console.is_terminal and rows and due:
            self._printed = t
            self._console.print("  ".join(self._pieces()), highlight=False, markup=False, soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line of whole pieces, however narrow the terminal, with a bar where there is room for one."""
        pieces = fitting(self._pieces(), options.max_width)
        room = options.max_width - len("  ".join(pieces)) - 2
        line = Table.grid(padding=(0, 2, 0, 0))
        if room >= NARROWEST_BAR:
            bar = ProgressBar(self._rounds, self._done, width=min(room, WIDEST_BAR))
            line.add_row(*pieces[:1], bar, *pieces[1:])
        else:
            line.add_row(*pieces)
        yield line

    def _pieces(self) -> list[str]:
        """What there is to say, the most important first."""
        counted = f"round {self._done}/{self._rounds}"
        if self._name:
            counted = f"{self._name}  {counted}"
        speed = self._pace.rounds_per_second
        if speed is None:
            return [counted, "starting", *self._facts]
        left = self._pace.seconds_to(self._rounds, time.perf_counter())
        return [
            counted,
            f"{clock(left)} left",
            f"{speed:{'.0f' if speed >= 10 else '.2g'}} rounds/s",
            *self._facts,
        ]


class Pace:
    """How fast rounds have passed lately: over the last `WINDOW` seconds, or between the last two visits."""

    def __init__(self, now: float, done: int):
        self._passed = deque([(now, done)])

    def passed(self, now: float, done: int) -> None:
        """Rounds done at a time in seconds; what is older than the window is forgotten."""
        if done == self._passed[-1][1]:  # preparation or a test, and no round
            self._passed[-1] = (now, done)
            return
        self._passed.append((now, done))
        while len(self._passed) > 2 and self._passed[1][0] < now - WINDOW:
            self._passed.popleft()

    @property
    def rounds_per_second(self) -> float | None:
        """None until a round has passed."""
        (start, first), (end, last) = self._passed[0], self._passed[-1]
        return (last - first) / max(end - start, 1e-9) if last > first else None

    def seconds_to(self, rounds: int, now: float) -> float:
        """Seconds from `now` until so many rounds are done, at this pace."""
        end, last = self._passed[-1]
        return max((rounds - last) / (self.rounds_per_second or 1) - (now - end), 0)


def fitting(pieces: Sequence[str], width: int) -> list[str]:
    """The first of the pieces that fit into a line; where not even two do, both without their words."""
    for count in range(len(pieces), 1, -1):
        if len("  ".join(pieces[:count])) <= width:
            return [*pieces[:count]]
    return [piece.removeprefix("round ").removesuffix(" left") for piece in pieces[:2]]


def clock(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def display(
    console: Console, rounds: int, done: int = 0, before: int = 0, name: str = ""
) -> Iterator[Display]:
    """A display that is cleaned up whatever happens.

    Args:
        console: Where to write.
        rounds: T, or of several runs that share a display, one after another, the rounds of all.
        done: How many of them are done.
        before: How many belong to earlier runs.
        name: Of several runs, which this is.
    """
    shown = Display(console, rounds, done, before, name)
    if not console.is_terminal:
        yield shown
        return
    with Live(shown, console=console, refresh_per_second=4):
        yield shown


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Says what takes a while: a live line while it does on a terminal, a line before it elsewhere."""
    if not STDERR.is_terminal:
        say(what)
        yield
        return
    with STDERR.status(what):
        yield


@contextmanager
def silent(holds: bool = True) -> Iterator[None]:
    """Of several processes only the first speaks: where this holds, nothing is said until the end of the block."""
    before = STDERR.quiet
    STDERR.quiet = before or holds
    try:
        yield
    finally:
        STDERR.quiet = before


@contextmanager
def timed() -> Iterator[None]:
    """Says in the end how long all of it took."""
    started = time.perf_counter()
    yield
    say(f"{time.perf_counter() - started:.1f} s in all")


def say(line: str) -> None:
    """One line for the person at the terminal, broken between words; standard output is left to results."""
    if STDERR.is_terminal:
        line = textwrap.fill(line, STDERR.width, break_long_words=False, break_on_hyphens=False)
    STDERR.print(line, highlight=False, markup=False, soft_wrap=True)


def facts(rows: list[dict[str, Any]]) -> list[str]:
    """What to say of the latest metrics, averaged over seeds."""

    def mean(name: str) -> float:
        return sum(row[name] for row in rows) / len(rows)

    score = (
        f"accuracy {mean('global_test_accuracy'):.2%}"
        if "global_test_accuracy" in rows[0]
        else f"test loss {mean('global_test_loss'):.4g}"
    )
    traffic = human_bytes(mean("uplink_bytes") + mean("downlink_bytes"))
    return [score, f"density {mean('density'):.3f}", f"{traffic} sent"]
