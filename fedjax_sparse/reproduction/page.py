"""The page of all reproductions: each figure beside its published numbers, what agrees, what does not and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from fedjax_sparse.reproduction import published
from fedjax_sparse.reproduction.published import Beside, Table
from fedjax_sparse.reproduction.reproducing import Report
from fedjax_sparse.results import html


def write(reports: Sequence[Report], failures: Sequence[str], file: Path) -> Path:
    """Writes the page; it shows the pictures that lie beside it, and needs nothing else."""
    scales = ", ".join(dict.fromkeys(report.scale for report in reports))
    parts = [
        *_claims(reports),
        *(f"<p><strong>Failed:</strong> {escape(failure)}</p>" for failure in failures),
        *(line for report in reports for line in _section(report)),
    ]
    file.write_text(html.page(f"The papers' figures, at scale {scales}", parts), encoding="utf-8")
    return file


def _claims(reports: Sequence[Report]) -> Iterator[str]:
    claiming = [report for report in reports if report.reproduction.judge]
    if claiming:
        yield "<h2>Claims</h2><ul>"
        for report in claiming:
            name, title = report.reproduction.name, escape(report.reproduction.title)
            yield f'<li><a href="#{name}">{title}</a>: {escape(report.last_line)}.</li>'
        yield "</ul>"


def _section(report: Report) -> Iterator[str]:
    name, title = report.reproduction.name, report.reproduction.title
    yield f'<section id="{name}"><h2>{escape(title)}</h2>'
    yield html.picture(report.picture.read_bytes(), report.picture.name, title)
    yield f"<p>{escape(report.last_line)}.</p>"
    yield f"<p>{escape(_rates(report))}</p>"
    for line in report.missing:
        yield f"<p><strong>Missing:</strong> {escape(line)}</p>"
    if report.table:
        yield from _beside(report, report.table)
    else:
        yield "<p>No published numbers are known.</p>"
    yield f'<p>Numbers: <a href="{name}.csv">{name}.csv</a>; <a href="{name}.pdf">{name}.pdf</a></p></section>'


def _rates(report: Report) -> str:
    winners = report.reproduction.tuned.get(report.scale)
    if winners is None:
        return "No rate was tuned: all methods have that of the settings."
    return f"Every method has the rate that won a sweep of the same values for all ({winners.name})."


def _beside(report: Report, table: Table) -> Iterator[str]:
    yield f"<p>Published: {escape(table.source)}. {escape(table.note)}</p>"
    agree, differ, left = (sum(row.agrees is answer for row in report.rows) for answer in (True, False, None))
    tolerance = published.shown(table.tolerance, table)
    yield (
        f"<p>{agree} numbers agree, within {tolerance}{table.unit and ' points'} or two deviations; {differ} differ; "
        f"{left} are not compared.</p>"
    )
    if report.settings:
        yield f"<p>Not the same: {escape('; '.join(report.settings))}.</p>"
    elif differ:
        yield "<p>Nothing that is known of the published runs is set otherwise here.</p>"
    unit = f", {table.unit}" if table.unit else ""
    header = ("panel", "series", "x", f"published{unit}", f"here{unit}", "difference", "")
    shown = html.table(header, (_cells(row, table) for row in report.rows))
    yield from (
        shown if agree or differ else ("<details><summary>Their numbers</summary>", *shown, "</details>")
    )


def _cells(row: Beside, table: Table) -> Sequence[str]:
    words = {True: "agrees", False: "differs", None: row.remark}
    deviation = published.shown(row.deviation, table, 2)
    quantity = "" if row.quantity == table.quantity else f", {row.quantity.replace('_', ' ')}"
    return (
        row.panel,
        f"{row.series}{quantity}",
        f"{row.x:g}",
        published.shown(row.published, table) + (deviation and f" ± {deviation}"),
        published.shown(row.ours.mean if row.ours else float("nan"), table),
        published.shown(row.difference, table, 3, "+"),
        words[row.agrees],
    )
