"""The command line of the scripts that reproduce figures: `python scripts/NAME.py --scale smoke --out DIR`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fedjax_sparse import errors
from fedjax_sparse.cli.common import at_the_door, introduced
from fedjax_sparse.config.run_config import changed
from fedjax_sparse.devices import quick_compilation
from fedjax_sparse.reproduction import cases, page, reproducing
from fedjax_sparse.reproduction.cases import SCALES, Case
from fedjax_sparse.reproduction.reproducing import Report, Reproduction

RUNS = "runs"  # the folder in DIR that all figures share


def main(*reproductions: Reproduction, about: str | None = None, args: Sequence[str] | None = None) -> int:
    """Runs what has not been run yet, draws the figures and prints each one's last line.

    Several figures also get a page, index.html. Runs are shared: what one figure has asked for, another finds.

    Args:
        *reproductions: What to draw.
        about: The script's docstring.
        args: Of the command line; by default the process's own.

    Returns:
        The exit code: 0, 1 if a run or a figure failed, 2 for a wrong request, that of a signal which stopped it.
    """
    return at_the_door(lambda: _main(reproductions, about, args))


def _main(reproductions: Sequence[Reproduction], about: str | None, args: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="cpu",
        help="smoke: seconds; cpu: minutes; paper: the paper's settings",
    )
    parser.add_argument("--out", type=Path, help="folder of figures and runs; by default runs/SCALE")
    parser.add_argument("--no-run", action="store_true", help="draw what has been recorded, and run nothing")
    parser.add_argument("--data-dir", help="folder of data sets; by default FEDJAX_SPARSE_DATA")
    given = parser.parse_args(args)
    out = given.out or Path("runs") / given.scale
    asked = {
        one.name: [_at(case, given.data_dir) for case in one.cases_at(given.scale)] for one in reproductions
    }
    for some in asked.values():
        cases.check(some)
    configs = cases.distinct(case for some in asked.values() for case in some)
    _make(out / RUNS)
    if given.scale == "smoke":  # read when JAX is imported
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick_compilation.FLAGS}"
    command = ["python", *sys.argv] if args is None else ["reproduce", *args]
    with introduced(f"{len(reproductions)} figures of {len(configs)} runs at scale {given.scale}"):
        from fedjax_sparse.experiments import several

        wanted = {} if given.no_run else configs
        pending = {
            name: config for name, config in wanted.items() if not several.has_ended(out / RUNS / name)
        }
        failures, stopped = several.run_all(pending, out / RUNS, command)
    if stopped is not None:
        return stopped
    reports: list[Report] = []
    failed: list[str] = []
    for one in reproductions:
        try:
            results = cases.results(asked[one.name], out / RUNS, failures)
            reports.append(reproducing.report(one, given.scale, results, out))
        except (errors.RunError, errors.UsageError) as error:
            failed.append(f"{one.name}: {error}")
    for line in (line for report in reports for line in report.missing):
        print(f"missing: {line}")
    if len(reproductions) > 1:
        print(page.write(reports, failed, out / "index.html"))
    for line in [*failed, *(report.last_line for report in reports)]:
        print(line)
    return int(bool(failed or failures))


def _at(case: Case, data_dir: str | None) -> Case:
    """The case with its data there, and without figures of its own."""
    own = {"data_dir": data_dir} if data_dir else {}
    return case._replace(config=changed(case.config, figures=False, **own))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.UsageError(f"cannot write to {folder}: {error.strerror}") from None
