"""`fedjax-sparse compare ALGORITHM... [--config FILE.toml] [flags]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedjax_sparse import errors
from fedjax_sparse.cli import asking
from fedjax_sparse.cli.common import PROG, introduced, note
from fedjax_sparse.config import comparison as comparisons
from fedjax_sparse.config import run_config, sweep
from fedjax_sparse.config.comparison import SPARSITIES, TUNED, Comparison
from fedjax_sparse.config.options import checked, declared_options

COMMAND = asking.Command(
    "compare",
    "Runs algorithms on the same data, partition, cohorts and initial weights, each in a folder of --out, and ends "
    "with a table and figures there. The same command again goes on where it was stopped. Hyper-parameters of one "
    "algorithm stand in a table [algorithm.NAME] of the --config file, and so may its own local training and server.",
    [SPARSITIES, TUNED, *declared_options(Comparison)],
    comparisons.values_of,
    {SPARSITIES.name: comparisons.sparsities_of},
    {SPARSITIES.name: lambda listed: ",".join(map(str, listed)) or SPARSITIES.default},
)


def compare(args: Sequence[str]) -> int:
    """Runs a comparison or goes on with it; returns the exit code."""
    asked, out, figures = request(args)
    cases = asked.cases()
    asking.note_idle({case.name: case.config for case in cases}, asked.shared)
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
    """What the arguments of `compare` ask for: what won a sweep, over it the file's values, over them the flags'."""
    values, given, out, figures = asking.request(COMMAND, args)
    tuned = checked(TUNED, values.pop(TUNED.name, None))
    if tuned:
        values["own"] = _with_winners(values, given, tuned)
    return Request(Comparison(**values), out, figures)


def _with_winners(values: Mapping[str, Any], given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """What each algorithm has apart, with what won; says where this is not what was tuned.

    Raises:
        UsageError: The file is something else, or an algorithm has no winner there and nothing of its own here.
    """
    table = run_config.read(path)
    try:
        won = sweep.winners_of(table)
        tuned_at = sweep.values_of(table)["shared"]
    except errors.UsageError as error:
        raise errors.UsageError(f"{path}: {error}") from None
    own = dict(values.get("own", {}))
    for name in values["algorithms"]:
        if name not in won and name not in own:
            raise errors.UsageError(
                f"{path} has no winner for {name}; tune it ({PROG} sweep {name} ...), or state [algorithm.{name}]"
            )
        own[name] = {**won.get(name, {}), **own.get(name, {})}
        for option in sorted(given.keys() & own[name].keys()):
            note(
                f"--{option.replace('_', '-')} has no effect on {name}, which has {option} = {own[name][option]}"
            )
    for option in comparisons.CONDITIONS:
        usual = run_config.default(option)
        before, now = (each.get(option, usual) for each in (tuned_at, values["shared"]))
        if before != now:
            note(f"{path} was tuned with {option} = {before}, and this has {option} = {now}")
    return own
