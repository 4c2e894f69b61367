"""One figure of a paper: drawn from its runs, laid beside the published numbers, and judged. No JAX here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from fedjax_sparse.config import run_config, sweep
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.reproduction import cases, published
from fedjax_sparse.reproduction.cases import Case, Results, Scale
from fedjax_sparse.reproduction.charts import Picture
from fedjax_sparse.reproduction.published import Beside, Table
from fedjax_sparse.reproduction.verdicts import Verdict
from fedjax_sparse.results import drawing
from fedjax_sparse.results.tables import write_csv


class Reproduction(NamedTuple):
    """A figure or table of a paper; see the package's docstring for how one is written.

    Attributes:
        name: Of its files.
        title: Paper, figure or table, and what it shows.
        cases: Scale -> its runs.
        picture: What came of them -> the figure.
        claim: What the paper says that it shows; empty where it claims nothing.
        judge: What came of the runs -> whether that holds here.
        published: File and table of the published numbers; None where none is known.
        tuned: Scale -> winners.toml of a `fedjax-sparse sweep`: there algorithms have what won of what was searched,
            at the other scales what `cases` says.
    """

    name: str
    title: str
    cases: Callable[[Scale], Iterable[Case]]
    picture: Callable[[Results], Picture]
    claim: str = ""
    judge: Callable[[Results], Verdict] | None = None
    published: tuple[Path, str] | None = None
    tuned: Mapping[Scale, Path] = MappingProxyType({})

    def cases_at(self, scale: Scale) -> list[Case]:
        """Its runs, with what was tuned for them.

        Raises:
            UsageError: A file cannot be read, or has no winner for an algorithm.
        """
        found = [*self.cases(scale)]
        if scale not in self.tuned:
            return found
        path = self.tuned[scale]
        try:
            table = run_config.read(path)
            winners = sweep.winners_of(table)
            return [cases.tuned(one, winners, sweep.values_of(table)["grid"]) for one in found]
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None


class Report(NamedTuple):
    """What a reproduction came to at one scale.

    Attributes:
        reproduction: Which.
        scale: Which.
        verdict: On its claim; None where there is none, or where runs are missing.
        rows: The published numbers with ours.
        settings: In what our runs are set otherwise than the published ones.
        table: The published numbers by themselves; None where there are none.
        missing: Runs that did not finish, and why.
        seeds: Of the run that has the fewest.
        picture: The PNG.
    """

    reproduction: Reproduction
    scale: Scale
    verdict: Verdict | None
    rows: Sequence[Beside]
    settings: Sequence[str]
    table: Table | None
    missing: Sequence[str]
    seeds: int
    picture: Path

    @property
    def last_line(self) -> str:
        """The claim, whether it holds here, at which scale, and by how much."""
        if self.reproduction.judge is None:
            return f"{self.reproduction.title}: no claim to judge, at scale {self.scale}"
        claim = f'claim "{self.reproduction.claim}"'
        if self.verdict is None:
            return f"{claim} is not judged here at scale {self.scale}: {len(self.missing)} runs are missing"
        holds, measured = self.verdict
        seeds = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        said = {True: "holds", False: "does not hold", None: f"is not decided by {seeds}"}[holds]
        caution = " (a check of the programs, no evidence)" if self.scale == "smoke" else ""
        alone = "; one seed" if self.seeds == 1 and holds is not None else ""
        return f"{claim} {said} here at scale {self.scale}{caution}: {measured}{alone}"


def report(reproduction: Reproduction, scale: Scale, results: Results, out: Path) -> Report:
    """Draws and judges what came of the runs; writes NAME.png, NAME.pdf and NAME.csv.

    Args:
        reproduction: What is drawn.
        scale: At which its runs were.
        results: What came of them.
        out: A folder that is there.

    Raises:
        RunError: No run has recorded anything.
        UsageError: The published numbers cannot be read, or the runs not be drawn.
    """
    if not results.found:
        first, more = results.missing[:3], len(results.missing) - 3
        others = [f"and {more} more"] if more > 0 else []
        raise RunError(f"no run has recorded anything; {'; '.join([*first, *others])}")
    table = published.read(*reproduction.published) if reproduction.published else None
    picture = reproduction.picture(results)
    files = drawing.save(picture.draw, out / reproduction.name, drawing.KINDS)
    rows = published.beside(table, picture.points, results) if table else []
    _write(picture, rows, out / f"{reproduction.name}.csv")
    return Report(
        reproduction,
        scale,
        judged(reproduction, results),
        rows,
        published.differences(table, results) if table else [],
        table,
        results.missing,
        min(len(result.outcome.seeds) for result in results.found),
        files[0],
    )


def judged(reproduction: Reproduction, results: Results) -> Verdict | None:
    """The verdict on its claim; None where there is none, or where runs are missing: a rival may be among them."""
    return reproduction.judge(results) if reproduction.judge and not results.missing else None


def _write(picture: Picture, rows: Sequence[Beside], file: Path) -> None:
    """Every number of the figure, with the published one where there is one, and its difference."""
    known = {row.ours: row for row in rows if row.ours}
    header = ["panel", "series", "quantity", "x", "mean", "min", "max", "seeds"]
    nothing = (float("nan"),) * 3
    lines = [
        [*point, *((row.published, row.deviation, row.difference) if (row := known.get(point)) else nothing)]
        for point in picture.points
    ]
    write_csv(file, [*header, "published", "published_deviation", "difference"], lines)
