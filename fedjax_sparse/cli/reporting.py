"""`fedjax-sparse report RUN... [--out FILE]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fedjax_sparse import errors
from fedjax_sparse.cli.common import PROG, arguments


@dataclass(frozen=True)
class ReportArguments:
    """Writes one HTML file, to be opened without a server: numbers, figures, costs, configuration and environment."""

    runs: Annotated[
        tuple[str, ...], Positional, arg(metavar="RUN...", help="folders of runs, or that of a comparison")
    ]
    out: Annotated[
        str,
        arg(
            metavar="FILE",
            help="what to write; by default report.html in a folder alone, figures-A-B/report.html here for several",
        ),
    ] = ""


def report(args: Sequence[str]) -> int:
    """Writes the report and prints where."""
    given = arguments(ReportArguments, "report", args)
    if not given.runs:
        raise errors.UsageError(f"name at least one run folder: {PROG} report RUN...")
    from fedjax_sparse.results import report as reports

    folders = [Path(run) for run in given.runs]
    print(reports.write(folders, Path(given.out) if given.out else reports.default_file(folders)))
    return 0
