"""A comparison: its runs one after another, each in a folder of its own, then their table and figures.

Each run is an ordinary one: `resume`, `plot` and `load_run` take its folder. What has ended is not run again, what was
stopped goes on, and what failed is tried again when the comparison is called the next time.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import tomli_w

from fedjax_sparse.config import comparison as comparisons
from fedjax_sparse.config.comparison import FILE, Case, Comparison
from fedjax_sparse.costs.units import human_bytes
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.experiments import building, several
from fedjax_sparse.experiments.progress import doing, say
from fedjax_sparse.records import claims
from fedjax_sparse.records.run_folder import MANIFEST
from fedjax_sparse.records.writing import replace, writing
from fedjax_sparse.results import comparison_figures
from fedjax_sparse.results import comparison_table as results
from fedjax_sparse.results.comparison_table import Outcome
from fedjax_sparse.simulation import programs

CHECKPOINTS = 4  # of a seed at most: the last two, the best, and the one being written


def compare(
    comparison: Comparison, cases: Sequence[Case], out: Path | None, command: Sequence[str], *, figures: bool
) -> int:
    """Runs a comparison, or goes on with it.

    Args:
        comparison: What to compare.
        cases: Its runs.
        out: Its folder, new or of the same comparison; None for a new one under runs/.
        command: As typed, for the manifests.
        figures: Whether figures are drawn in the end.

    Returns:
        The exit code: 0, 1 if a run failed or a seed diverged, or that of the signal that stopped the comparison.

    Raises:
        UsageError: The folder holds something else or is in use, there is too little disk, or no run can be built.
        RunError: Every run failed.
    """
    name = f"compare-{Path(cases[0].config.data.dataset).stem}"
    with claims.of_several(out, FILE, name) as here:
        _check_same(cases, here)
        pending = [case for case in cases if not several.has_ended(here / case.name)]
        if len(pending) < len(cases):
            say(f"{len(cases) - len(pending)} of {len(cases)} runs have ended; going on with the others")
        _check_disk(pending, here)
        with writing(here / FILE) as path:
            replace(path, tomli_w.dumps(comparisons.to_toml_dict(comparison)).encode())
        failures, stopped = several.run_all({case.name: case.config for case in pending}, here, command)
        if stopped is not None:
            say(f"go on with: fedjax-sparse compare --config {here / FILE} --out {here}")
            return stopped
        outcomes = [results.read(case, here / case.name, failures.get(case.name)) for case in cases]
        _report(outcomes, comparison, here, figures)
        return int(any(outcome.faults for outcome in outcomes))


def _check_same(cases: Sequence[Case], here: Path) -> None:
    """Refuses to mix two comparisons; reference, target and the rounds of means change the table alone."""
    if not (here / FILE).is_file() or not any(here.glob(f"*/{MANIFEST}")):
        return
    earlier = comparisons.read(here).cases()
    if [*earlier] == [*cases]:
        return
    before, now = ({case.name: case for case in some} for some in (earlier, cases))
    odd = [name for name in {**before, **now} if name not in before or name not in now]
    what = f"whose runs differ: {', '.join(odd)}" if odd else f"with other options, see {here / FILE}"
    raise UsageError(f"{here} holds another comparison, {what}; choose another --out")


def _check_disk(pending: Sequence[Case], here: Path) -> None:
    """Refuses runs whose checkpoints would not fit; an algorithm that cannot be built fails when it is run.

    Raises:
        UsageError: There is too little room, or no algorithm can be built.
    """
    by_algorithm = {case.config.algorithm: case for case in pending}
    sizes, refused = {}, []
    with doing("asking what the runs need"):
        for name, case in by_algorithm.items():
            try:
                sizes[name] = _state_bytes(case)
            except Exception as error:
                refused.append(error)
    if by_algorithm and not sizes:
        raise refused[0]
    seeds = [case.config.run.seeds * sizes.get(case.config.algorithm, 0) for case in pending]
    needed, free = CHECKPOINTS * sum(seeds), shutil.disk_usage(here).free
    if needed > free:
        raise UsageError(
            f"checkpoints of {len(pending)} runs need up to {human_bytes(needed)}, and {here} has {human_bytes(free)} "
            "free; compare fewer, or free some"
        )
    if pending:
        say(f"checkpoints need up to {human_bytes(needed)} of disk; what programs share is compiled once")


def _state_bytes(case: Case) -> int:
    """Bytes of one seed's checkpoint."""
    made = building.build(case.config)
    leaves = jax.tree.leaves(programs.state_shapes(made.algorithm, made.setting))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def _report(outcomes: Sequence[Outcome], comparison: Comparison, here: Path, figures: bool) -> None:
    """Writes and prints the table, and draws the figures."""
    if not any(outcome.run for outcome in outcomes):
        first = outcomes[0]
        raise RunError(f"no run has recorded anything; {first.case.name}: {'; '.join(first.faults)}")
    rows = results.rows(outcomes, comparison)
    text = results.markdown(rows, comparison, results.score_of(outcomes))
    with writing(here / "table.md") as path:
        replace(path, text.encode())
    with writing(here / "table.csv") as path:
        results.write_csv(rows, path)
    print(text, end="")
    if figures:
        with doing("drawing figures"):
            comparison_figures.draw(outcomes, here / "figures", comparison.last)
    say(f"table, figures and runs: {here}")
