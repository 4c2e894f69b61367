"""`fedjax-sparse sweep ALGORITHM... --grid OPTION=VALUES/... [--config FILE.toml] [flags]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedjax_sparse.cli import asking
from fedjax_sparse.cli.common import introduced, note
from fedjax_sparse.config import sweep as sweeps
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.config.sections import Records
from fedjax_sparse.config.sweep import GRID, Sweep

# No training of a sweep is recorded by itself.
UNUSED = ("checkpoint_every", "keep_masks", *(o.name for o in declared_options(Records) if o.name != "out"))


def _shown(grid: Mapping[str, Sequence[Any]]) -> str:
    parts = (f"{name.replace('_', '-')}={','.join(map(str, values))}" for name, values in grid.items())
    return "/".join(parts) or GRID.default


COMMAND = asking.Command(
    "sweep",
    "Trains every algorithm with every combination of the values of --grid, all under the same conditions and the same "
    "rule: what is best on a part of the training examples that is held out wins; the test set is never looked at. "
    "Numbers that decide nothing but themselves run as one program. --out holds winners.toml, for compare --tuned, and "
    "every score; the same command again goes on where it was stopped.",
    [GRID, *declared_options(Sweep)],
    sweeps.values_of,
    {GRID.name: sweeps.grid_of},
    {GRID.name: _shown},
)


def sweep(args: Sequence[str]) -> int:
    """Runs a sweep or goes on with it; returns the exit code."""
    asked, out = request(args)
    trials = asked.trials()
    asking.note_idle({name: own[0].config for name, own in trials.items()}, asked.shared)
    for option in UNUSED:
        if option in asked.shared:
            note(f"--{option.replace('_', '-')} has no effect on a sweep")
    seeds, settings = next(iter(trials.values()))[0].config.run.seeds, sum(map(len, trials.values()))
    counts = ", ".join(f"{name} {len(own)}" for name, own in trials.items())
    each = f"{settings} settings of {seeds} seed{'s' * (seeds > 1)} are {settings * seeds} trainings"
    with introduced(f"sweep: {each} ({counts})"):
        from fedjax_sparse.experiments import sweep

        return sweep.sweep(asked, trials, out)


def request(args: Sequence[str]) -> tuple[Sweep, Path | None]:
    """What the arguments of `sweep` ask for, and the folder for it (None: a new one under runs/)."""
    values, _, out, _ = asking.request(COMMAND, args)
    return Sweep(**values), out
