"""The page of all reproductions: each figure beside its published numbers, what agrees, what does not and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from fedjax_sparse.reproduction.published import Beside
from fedjax_sparse.reproduction.reproducing import Report
from fedjax_sparse.results import html

HEADER = ("panel", "series", "x", "published", "here", "difference", "")


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
    judged = [report for report in reports if report.verdict]
    if judged:
        yield "<h2>Claims</h2><ul>"
        for report in judged:
            yield f'<li><a href="#{report.reproduction.name}">{escape(report.last_line)}</a></li>'
        yield "</ul>"


def _section(report: Report) -> Iterator[str]:
    name, title = report.reproduction.name, escape(report.reproduction.title)
    yield f'<section id="{name}"><h2>{title}</h2>'
    yield f'<img src="{report.picture.name}" alt="{title}" loading="lazy">'
    yield f"<p>{escape(report.last_line)}.</p>"
    for line in report.missing:
        yield f"<p><strong>Missing:</strong> {escape(line)}</p>"
    if report.rows:
        yield from _beside(report)
    else:
        yield "<p>No published numbers are known.</p>"
    yield f'<p>Numbers: <a href="{name}.csv">{name}.csv</a>; <a href="{name}.pdf">{name}.pdf</a></p></section>'


def _beside(report: Report) -> Iterator[str]:
    yield f"<p>Published: {escape(report.source)}</p>"
    counts = [sum(row.agrees is answer for row in report.rows) for answer in (True, False, None)]
    yield "<p>{} numbers agree, {} differ, {} are not compared.</p>".format(*counts)
    if report.settings:
        yield f"<p>Not the same: {escape('; '.join(report.settings))}.</p>"
    yield from html.table(HEADER, map(_cells, report.rows))


def _cells(row: Beside) -> Sequence[str]:
    words = {True: "agrees", False: "differs", None: row.remark}
    ours = "" if row.ours is None else f"{row.ours.mean:.4g}"
    difference = "" if np.isnan(row.difference) else f"{row.difference:+.4g}"
    deviation = "" if np.isnan(row.deviation) else f" ± {row.deviation:.2g}"
    return (
        row.panel,
        row.series,
        f"{row.x:g}",
        f"{row.published:.4g}{deviation}",
        ours,
        difference,
        words[row.agrees],
    )
