"""`fedjax-sparse compare ALGORITHM... [--config FILE.toml] [flags]`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fedjax_sparse import errors
from fedjax_sparse.cli import flags
from fedjax_sparse.cli.common import PROG, introduced, note, run_sections, value_of
from fedjax_sparse.cli.flags import Section
from fedjax_sparse.config import comparison as comparisons
from fedjax_sparse.config import idle, registry, run_config
from fedjax_sparse.config.comparison import SPARSITIES, Comparison
from fedjax_sparse.config.options import declared_options

ABOUT = (
    "Runs algorithms on the same data, partition, cohorts and initial weights, each in a folder of --out, and ends "
    "with a table and figures there. The same command again goes on where it was stopped. Hyper-parameters of one "
    "algorithm stand in a table [algorithm.NAME] of the --config file, and so may its own local training and server."
)


def compare(args: Sequence[str]) -> int:
    """Runs a comparison or goes on with it; returns the exit code."""
    asked, out, figures = request(args)
    cases = asked.cases()
    for case in cases:
        unused = set(registry.entry(case.config.algorithm).unused) & {*asked.shared}
        for name in sorted(unused):
            note(f"--{name.replace('_', '-')} has no effect on {case.name}")
    for line in dict.fromkeys(
        line for case in cases for line in idle.notes(run_config.values(case.config), asked.shared)
    ):
        note(line)
    seeds = cases[0].config.run.seeds
    of_seeds = f" of {seeds} seeds each" if seeds > 1 else ""
    with introduced(f"comparison of {len(cases)} runs{of_seeds}: {', '.join(case.name for case in cases)}"):
        from fedjax_sparse.experiments import compare

        return compare.compare(asked, cases, out, [PROG, "compare", *args], figures=figures)


class Request(NamedTuple):
    """What is to be compared, the folder for it (None: a new one under runs/), and whether figures are drawn."""

    comparison: Comparison
    out: Path | None
    figures: bool


def request(args: Sequence[str]) -> Request:
    """What the arguments of `compare` ask for: the file's values, and over them the flags'."""
    named = [*itertools.takewhile(lambda text: not text.startswith("-"), args)]
    rest = args[len(named) :]
    path = value_of("--config", rest)
    try:
        in_file = comparisons.values_of(run_config.read(path)) if path else {}
    except errors.UsageError as error:
        raise errors.UsageError(f"{path}: {error}") from None
    shared = in_file.pop("shared", {})
    own_options = [SPARSITIES, *declared_options(Comparison)]
    sections = [Section("comparison", own_options), *run_sections()]
    listed = ",".join(map(str, in_file.get("sparsities", ()))) or SPARSITIES.default
    defaults = {o.name: {**shared, **in_file}.get(o.name, o.default) for s in sections for o in s.options}
    given = flags.parse(
        sections,
        defaults | {SPARSITIES.name: listed},
        rest,
        prog=f"{PROG} compare ALGORITHM...",
        description=ABOUT,
    )
    given.pop("config", None)
    head = {o.name: given.pop(o.name) for o in own_options if o.name in given}
    if SPARSITIES.name in head:
        head[SPARSITIES.name] = comparisons.sparsities_of(head[SPARSITIES.name])
    if named:
        head["algorithms"] = tuple(named)
    shared = run_config.without_rivals(shared, given) | given
    out, figures = shared.pop("out", None), shared.pop("figures", True)
    asked = Comparison(**{"algorithms": (), **in_file, **head}, shared=shared)
    return Request(asked, Path(out) if out else None, figures)
