"""The figures of a comparison: curves of what shares a sparsity together, and scores against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedjax_sparse.results import comparison_table, drawing, figures, naming, tables
from fedjax_sparse.results.comparison_table import Outcome, score_of
from fedjax_sparse.results.drawing import Curve, Panel, Quantity
from fedjax_sparse.results.figures import QUANTITIES

CURVES = (
    "accuracy_by_round",
    "accuracy_by_uplink",
    "accuracy_by_bytes",
    "accuracy_by_flops",
    "accuracy_by_seconds",
)
SPARSITY = Quantity("Sparsity", "%")


def plot(folder: Path, out: Path) -> list[Path]:
    """Draws all figures of a comparison that is on disk, prints its table, and returns the files written to `out`.

    Args:
        folder: Of the comparison.
        out: Created if need be.

    Raises:
        UsageError: None of its runs has recorded anything, they cannot be drawn together, or `out` not written.
        RunError: A run's records are damaged.
    """
    comparison, outcomes = comparison_table.read_all(folder)
    files = draw(outcomes, out, comparison.last, drawing.KINDS, [*figures.FIGURES])
    with figures.written(out):
        files += figures.parts([outcome.run for outcome in outcomes if outcome.run], out)
    rows = comparison_table.rows(outcomes, comparison)
    print(comparison_table.markdown(rows, comparison, score_of(outcomes)), end="")
    return files


def draw(
    outcomes: Sequence[Outcome],
    out: Path,
    last: int,
    kinds: Sequence[str] = ("png",),
    names: Sequence[str] = CURVES,
) -> list[Path]:
    """Draws the curves of each sparsity, with the runs that have none, and the mean of the last rounds by sparsity.

    Args:
        outcomes: Of all runs; those that recorded nothing are left out.
        out: Created if need be. With several sparsities the curves of each are in a folder of their own there.
        last: The mean is over the recorded rounds among the last so many.
        kinds: Of the files, of `drawing.KINDS`; that by sparsity has all.
        names: Of the curves, of `figures.FIGURES`.

    Returns:
        The files.

    Raises:
        UsageError: `out` cannot be written.
    """
    recorded = [outcome for outcome in outcomes if outcome.run]
    runs = [outcome.run for outcome in recorded if outcome.run]
    sparsities = sorted({o.case.sparsity for o in recorded if o.case.sparsity is not None})
    if len(sparsities) < 2:
        return figures.draw(runs, out, kinds, names)
    files = []
    for sparsity in sparsities:
        folder = out / f"sparsity-{sparsity}"
        with figures.written(folder):
            together = [o.run for o in recorded if o.run and o.case.sparsity in (None, sparsity)]
            files += figures.curves(together, folder, kinds, names)
    with figures.written(out):
        return [*files, *_by_sparsity(recorded, sparsities, out, last), *figures.holdings(runs, out, kinds)]


def _by_sparsity(
    outcomes: Sequence[Outcome], sparsities: Sequence[float], out: Path, last: int
) -> list[Path]:
    score = score_of(outcomes)
    lines = {
        name: _line([o for o in outcomes if o.case.config.algorithm == name], sparsities, score, last)
        for name in dict.fromkeys(outcome.case.config.algorithm for outcome in outcomes)
    }
    lines = {name: line for name, line in lines.items() if line.seeds.any()}
    if not lines:
        return []
    label = f"{QUANTITIES[score].label}, last {last} rounds"
    panel = Panel(SPARSITY, QUANTITIES[score]._replace(label=label), [*lines.values()], [None] * len(lines))
    title = naming.title([outcome.run for outcome in outcomes if outcome.run])
    stem = out / ("accuracy_by_sparsity" if score != "global_test_loss" else "loss_by_sparsity")
    header = ["algorithm", "sparsity", "mean", "min", "max", "seeds"]
    numbers = [
        [name, *point]
        for name, line in lines.items()
        for point in zip(line.x, line.y, line.low, line.high, line.seeds, strict=True)
    ]
    pictures = drawing.save(lambda: drawing.draw([panel], [*lines], title), stem, drawing.KINDS)
    return [*pictures, tables.write_csv(stem.with_suffix(".csv"), header, numbers)]


def _line(outcomes: Sequence[Outcome], sparsities: Sequence[float], score: str, last: int) -> Curve:
    """The scores of one algorithm; one that runs once has the same at every sparsity."""
    by_sparsity = {outcome.case.sparsity: outcome for outcome in outcomes}
    chosen = [by_sparsity.get(sparsity, by_sparsity.get(None)) for sparsity in sparsities]
    values = [[tables.late_mean(seed, score, last) for seed in o.seeds.values()] if o else [] for o in chosen]
    mean, low, high = (
        np.array([statistic(own) if own else np.nan for own in values], np.float64)
        for statistic in (np.mean, np.min, np.max)
    )
    x = np.array(sparsities)
    return Curve(x, x, mean, low, high, np.array([len(own) for own in values]))
