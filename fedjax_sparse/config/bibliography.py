"""The papers behind the algorithms: BibTeX records, and what a table says of a paper."""

from __future__ import annotations

import importlib.resources
import re
import unicodedata
from typing import NamedTuple

from fedjax_sparse.config.entry import Entry

# TeX's accents, as the combining characters that stand behind a letter.
_ACCENTS = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "^": "\u0302", "~": "\u0303", "v": "\u030c"}
# What stands between a pair of braces, in which two further pairs may be nested.
_BRACED = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"


class Paper(NamedTuple):
    """What is said of a paper in a line; None is what its record does not state.

    Attributes:
        author: Surname of the first author.
        year: Of the publication that the record names.
        title: In plain text.
        url: Its page on arXiv.
    """

    author: str | None
    year: int | None
    title: str | None
    url: str | None


def records() -> dict[str, str]:
    """Every BibTeX record of `references.bib` by its key."""
    text = importlib.resources.files("fedjax_sparse").joinpath("references.bib").read_text(encoding="utf-8")
    found = re.split(r"\n\n(?=@)", text.strip())
    return {record[record.index("{") + 1 : record.index(",")]: record for record in found}


def bibtex(*entries: Entry) -> str:
    """The references of algorithms, each once, as BibTeX."""
    known = records()
    references = dict.fromkeys(reference for entry in entries for reference in entry.references)
    return "\n\n".join(known.get(reference, reference) for reference in references)


def paper(entry: Entry) -> Paper:
    """The paper of an algorithm, which is its first reference."""
    record = bibtex(entry).split("\n\n")[0]
    authors = _field(record, "author")
    year = re.search(r"\byear\s*=\s*\{?(\d{4})", record)
    arxiv = re.search(r"\barXiv:(\d{4}\.\d{4,5})", record)
    return Paper(
        author=_surname(authors.split(" and ")[0]) if authors else None,
        year=int(year[1]) if year else None,
        title=_field(record, "title"),
        url=f"https://arxiv.org/abs/{arxiv[1]}" if arxiv else None,
    )


def _field(record: str, name: str) -> str | None:
    found = re.search(rf"\b{name}\s*=\s*{_BRACED}", record)
    return _plain(found[1]) if found else None


def _plain(tex: str) -> str:
    """Text without braces, backslashes and line breaks, and with its accents on the letters."""
    accented = re.sub(r"\\(['`\"^~v])\{?(\w)\}?", lambda match: match[2] + _ACCENTS[match[1]], tex)
    return " ".join(unicodedata.normalize("NFC", re.sub(r"[{}\\]", "", accented)).split())


def _surname(author: str) -> str:
    """Of `Surname, Name`, or of `Name Surname`."""
    return author.split(",")[0] if "," in author else author.split()[-1]
