"""Runs the speed benchmarks one after the other, each in a process of its own.

    python -m benchmarks.all [--out runs/benchmarks] [--only floor seeds | --skip peers] [--repeats 5]

Each prints its table and leaves `NAME.json` in the folder. One that fails does not stop the others. At the end comes
what ran, how long it took and how it ended; the exit status is 1 if any failed. About three quarters of an hour on two
quiet cores, once the environments of the peers are there.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import timing

NAMES = ("peers", "floor", "scaling", "overhead", "selection", "startup", "seeds", "processes", "inference")


def chosen(only: list[str], skip: list[str]) -> list[str]:
    """The benchmarks to run, in their order."""
    return [name for name in NAMES if (not only or name in only) and name not in skip]


def run(name: str, out: Path, repeats: int | None) -> dict[str, str | float]:
    """Runs one; says how it went."""
    print(f"\n## {name}\n", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(out / f"{name}.json")]
    command += [] if repeats is None else ["--repeats", str(repeats)]
    start = time.perf_counter()
    status = subprocess.run(command, check=False).returncode
    result = "done" if status == 0 else f"failed, status {status}"
    return {"benchmark": name, "seconds": time.perf_counter() - start, "result": result}


def main() -> int:
    """Runs what is chosen."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.all",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON files")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[], help="benchmarks to run")
    parser.add_argument("--skip", nargs="+", choices=NAMES, default=[], help="benchmarks to leave out")
    parser.add_argument("--repeats", type=timing.at_least(1), help="timed runs of each; by default their own")
    args = parser.parse_args()
    rows = [run(name, args.out, args.repeats) for name in chosen(args.only, args.skip)]
    print(f"\n{timing.table(rows)}" if rows else "nothing to run")
    return int(any(row["result"] != "done" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
