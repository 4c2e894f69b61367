"""A list of command lines, run once each in this process: what is finished is not repeated, what stopped goes on."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fedjax_sparse.cli.commands import main as fedjax_sparse
from fedjax_sparse.cli.process import leave
from fedjax_sparse.records.run_folder import MANIFEST, has_ended, open_run
from fedjax_sparse.results import reading, tables
from fedjax_sparse.results.tables import Summary


class Case(NamedTuple):
    """A label for the table, and what `fedjax-sparse run` is given."""

    label: str
    arguments: str


def run_all(cases: Sequence[Case], out: Path, data_dir: str | None) -> list[Summary]:
    """Runs what is not finished, each case in a folder of `out`, and sums all up.

    A case whose run diverged is summed up by what it recorded before; one that recorded nothing is left out.

    Args:
        cases: In the order of the table.
        out: Folder of all run folders.
        data_dir: For all cases; None leaves it to FEDJAX_SPARSE_DATA.

    Raises:
        SystemExit: A command line was refused or stopped by a signal; its exit code is passed on.
    """
    summaries = []
    for case in cases:
        folder = folder_of(out, case)
        data = ["--data-dir", data_dir] if data_dir else []
        code = run_or_resume(folder, ["run", *shlex.split(case.arguments), *data, "--out", str(folder)])
        if code not in (0, 1):
            leave(code)
        if any(part.rows() for part in open_run(folder)[1]):
            summaries.append(tables.summarize(reading.read(folder), case.label))
    return summaries


def folder_of(out: Path, case: Case) -> Path:
    """The run folder of a case, named by its label."""
    return out / re.sub(r"[^a-z0-9.]+", "-", case.label.lower()).strip("-")


def run_or_resume(folder: Path, command: list[str]) -> int:
    """Runs a command, goes on where it was stopped, or does nothing where it is done; returns the exit code."""
    if not (folder / MANIFEST).exists():
        return fedjax_sparse(command)
    if has_ended(folder):
        return 0
    return fedjax_sparse(["resume", str(folder)])
