"""Timing side by side, and the form in which every benchmark reports: a table on standard output and a JSON file."""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Times(NamedTuple):
    """Seconds of repeated runs of the same work."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """What is reported."""
        return statistics.median(self.seconds)


def interleaved(runs: Mapping[str, Callable[[], Any]], repeats: int = 5) -> dict[str, Times]:
    """Times callables in turns, a, b, a, b, ..., so that a change of the machine's load meets all of them.

    Args:
        runs: By name; each has finished its work when it returns, and is called once beforehand, untimed.
        repeats: Timed calls of each.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(tuple(values)) for name, values in seconds.items()}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table; columns are the keys of the first row, numbers get three digits."""
    heads = list(rows[0])
    cells = [[_cell(row.get(head)) for head in heads] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]

    def line(values: Sequence[str]) -> str:
        return (
            "| " + " | ".join(value.ljust(width) for value, width in zip(values, widths, strict=True)) + " |"
        )

    return "\n".join([line(heads), line(["-" * width for width in widths]), *map(line, cells)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def machine() -> dict[str, Any]:
    """What the numbers were measured on: hardware, versions and date."""
    facts: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_name(),
        "cores": cores(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
    if "jax" in sys.modules:
        import jax

        facts["device"] = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return facts


def cores() -> int:
    """Of the CPU, as many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def arguments(description: str | None, name: str) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has.

    Args:
        description: The script's docstring.
        name: Of the JSON file in the folder `runs/benchmarks`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=writable_file, default=f"runs/benchmarks/{name}.json", help="JSON file to write"
    )
    parser.add_argument(
        "--repeats", type=at_least(1), default=5, help="timed runs of each; medians are reported"
    )
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """A type of option: a whole number that is not smaller."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} on")
        return int(text)

    return number


def writable_file(text: str) -> Path:
    """A type of option: a file that can be written, in a folder that is made; refused before anything is measured."""
    file = Path(text)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot make the folder of {text}: {error.strerror}") from error
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} is no file that can be written")
    return file


def report(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the table and writes it, with the machine's facts and the command, as JSON."""
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(table(rows))
    text = json.dumps({"machine": facts, "command": sys.argv, "rows": [dict(row) for row in rows]}, indent=1)
    out.write_text(text + "\n")
