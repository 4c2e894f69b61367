"""Every figure of the five papers, and a page that shows each beside its published numbers.

    python scripts/reproduce.py --scale smoke --out runs/smoke

A figure is a script beside this one that has a REPRODUCTION.
"""

import runpy
import sys
from pathlib import Path

from fedjax_sparse.cli import reproducing
from fedjax_sparse.reproduction.reproducing import Reproduction

HERE = Path(__file__).parent


def reproductions() -> list[Reproduction]:
    """Of all scripts, by name."""
    scripts = [path for path in sorted(HERE.glob("*.py")) if path.name != Path(__file__).name]
    names = [runpy.run_path(str(path)) for path in scripts]
    return [own["REPRODUCTION"] for own in names if "REPRODUCTION" in own]


if __name__ == "__main__":
    sys.exit(reproducing.main(*reproductions(), about=__doc__))
