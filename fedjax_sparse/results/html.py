"""Pages that open without a server: one file each, for narrow screens and wide ones. Everything shown is escaped."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem; color: #111;
  background: #fff; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { border-top: 2px solid #111; margin-top: 2rem; padding-top: 0.5rem; font-size: 1.2rem; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.9rem; overflow-wrap: normal; }
th, td { border-bottom: 1px solid #ccc; padding: 0.2rem 0.7rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
td.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2rem; align-items: end; }
figure { margin: 0; max-width: 100%; }
figcaption { font-size: 0.9rem; color: #444; }
@media print { .wide { overflow: visible; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""

NUMBER = re.compile(r"[+−-]?\d[\d,]*(\.\d+)?( ± \d+(\.\d+)?)?( [^\d\s]{1,3})?")


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page from what stands in its body, below the title."""
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]
    return "\n".join([*head, *parts, "</body></html>"]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, which scrolls by itself where the screen is narrower; numbers stand at the right."""
    yield '<div class="wide"><table><tr>' + "".join(f"<th>{escape(name)}</th>" for name in header) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(map(_cell, row)) + "</tr>"
    yield "</table></div>"


def listed(lines: Iterable[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def pictures(captioned: Iterable[tuple[bytes, str]]) -> Iterator[str]:
    """PNGs that are part of the page, with their captions, side by side where there is room."""
    yield '<div class="figures">'
    for png, caption in captioned:
        data = base64.b64encode(png).decode()
        yield picture(
            png, f"data:image/png;base64,{data}", caption, f"<figcaption>{escape(caption)}</figcaption>"
        )
    yield "</div>"


def picture(png: bytes, source: str, alt: str, caption: str = "") -> str:
    """A PNG that is found at its source, at half its width, so that dense screens show it sharp, or at the screen's."""
    width = int.from_bytes(png[16:20], "big") // 2  # a PNG states it there
    image = f'<img width="{width}" src="{escape(source)}" alt="{escape(alt)}" loading="lazy">'
    return f"<figure>{image}{caption}</figure>"


def _cell(text: str) -> str:
    return f"<td{' class=n' if NUMBER.fullmatch(text) else ''}>{escape(text)}</td>"
