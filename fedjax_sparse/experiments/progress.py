"""What a person sees while a run goes on: a live line on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedjax_sparse.costs.units import human_bytes

STDERR = Console(stderr=True)
PLAIN_LINES = 10  # how many lines a whole run prints where there is no terminal


class Display:
    """Shows round, rounds a second, time left, accuracy, density and bytes."""

    def __init__(self, console: Console, rounds: int, done: int):
        self._console = console
        self._rounds = rounds
        self._first = done
        self._printed = done
        self._started = time.perf_counter()
        self._facts = ""
        self._bar = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[facts]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=rounds, completed=done, speed="starting", facts="")

    def update(self, t: int, rows: list[dict[str, Any]]) -> None:
        """Shows round t; `rows` are the latest metrics of the seeds, empty between evaluations."""
        if rows:
            self._facts = facts(rows)
        speed = f"{(t - self._first) / (time.perf_counter() - self._started):.2g} rounds/s"
        self._bar.update(self._task, completed=t, speed=speed, facts=self._facts)
        due = t - self._printed >= self._rounds / PLAIN_LINES or t == self._rounds
        if not self._console.is_terminal and rows and due:
            self._printed = t
            self._console.print(
                f"round {t}/{self._rounds}  {speed}  {self._facts}", highlight=False, soft_wrap=True
            )


@contextmanager
def display(console: Console, rounds: int, done: int = 0) -> Iterator[Display]:
    """A display that is cleaned up whatever happens.

    Args:
        console: Where to write.
        rounds: T.
        done: Rounds done before.
    """
    shown = Display(console, rounds, done)
    with shown._bar:
        yield shown


def facts(rows: list[dict[str, Any]]) -> str:
    """One line on the latest metrics, averaged over seeds."""

    def mean(name: str) -> float:
        return sum(row[name] for row in rows) / len(rows)

    score = (
        f"accuracy {mean('global_test_accuracy'):.2%}"
        if "global_test_accuracy" in rows[0]
        else f"test loss {mean('global_test_loss'):.4g}"
    )
    traffic = human_bytes(mean("uplink_bytes") + mean("downlink_bytes"))
    return f"{score}  density {mean('density'):.3f}  {traffic} sent"


def say(line: str) -> None:
    """One line for the person at the terminal; standard output is left to results."""
    STDERR.print(line, highlight=False, markup=False, soft_wrap=True)
