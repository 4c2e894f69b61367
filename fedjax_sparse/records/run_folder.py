"""The run folder: what was run, on what, and what came of it. No JAX here.

    OUT/config.toml     the resolved configuration, from which the run can be repeated
    OUT/manifest.json   versions, device, seeds, commit, command, times and status
    OUT/metrics.jsonl   one row for each evaluated round
    OUT/clients.csv     how many examples of each class a client holds
    OUT/data.json       the shapes of the data set, so that the model can be built without it
    OUT/checkpoints/    see `checkpoints`
    OUT/masks/          see `mask_files`, where they were asked for
    OUT/.lock           held by the process that writes, see `claims`

A run of several seeds is one program but as many folders: each OUT/seed_<s>/ is complete in itself, and OUT holds
`config.toml` and `manifest.json` of the whole.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
import math
import platform
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from fedjax_sparse import errors
from fedjax_sparse.config.run_config import options_of_run, restated
from fedjax_sparse.config.run_config import read as read_toml
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.records.claims import LOCK
from fedjax_sparse.records.writing import csv_lines, replace, writing

CONFIG = "config.toml"
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"
CLIENTS = "clients.csv"
DATA = "data.json"
CHECKPOINTS = "checkpoints"

DISTRIBUTIONS = ("fedjax-sparse", "jax", "jaxlib", "flax", "optax", "numpy")

NAMED = 12  # runs in a line, at most

Row = Mapping[str, Any]
Sink = Callable[[Row], None]


@dataclasses.dataclass
class RunFolder:
    """The folder of one seed of a run.

    Attributes:
        path: Where it lies.
        sinks: Called in turn with every row that has been recorded, see `sinks`.
    """

    path: Path
    sinks: list[Sink] = dataclasses.field(default_factory=list)

    @property
    def checkpoints(self) -> Path:
        """The folder of this seed's checkpoints."""
        return self.path / CHECKPOINTS

    def append(self, row: Row) -> None:
        """Records a row in one write, so that a run killed at any moment leaves at most half a last line.

        Args:
            row: `round` and what was measured then; a NaN or an infinity is recorded as null.

        Raises:
            RunError: The disk is full or not writable.
        """
        plain = _plain(row)
        line = _line(plain)
        with writing(self.path / METRICS) as path, path.open("ab", buffering=0) as file:
            if file.write(line) < len(line):
                raise OSError("the disk is full")
        for sink in self.sinks:
            sink(plain)

    def rows(self) -> list[dict[str, Any]]:
        """All recorded rows; half a last line is left out, with a warning, and so are blank lines at the end.

        Raises:
            UsageError: There are no records here.
            RunError: A line is damaged, or is no row of a round.
        """
        path = self.path / METRICS
        try:
            *lines, half = path.read_bytes().split(b"\n")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        if half.strip():
            warnings.warn(f"{path}: its last line is half written, and left out", stacklevel=1)
        while lines and not lines[-1].strip():
            lines.pop()
        return [_parse(path, number, line) for number, line in enumerate(lines, start=1)]

    def truncate(self, after_round: int) -> None:
        """Drops all rows later than a round, and half lines, at once: a resumed run writes them anew.

        Sinks are attached afterwards, so that they start from what is left.
        """
        kept = [row for row in self.rows() if row["round"] <= after_round]
        with writing(self.path / METRICS) as path:
            replace(path, b"".join(map(_line, kept)))

    def manifest(self) -> dict[str, Any]:
        """What `manifest.json` says.

        Raises:
            UsageError: It is missing or not a JSON object.
        """
        path = self.path / MANIFEST
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not a JSON file: {error}") from error
        if not isinstance(content, dict):
            raise UsageError(f"{path} is not a manifest: it holds {errors.shown(content)[:40]}")
        return content

    def update_manifest(self, **fields: Any) -> None:
        """Sets fields of `manifest.json`, all at once."""
        content = self.manifest() | fields
        with writing(self.path / MANIFEST) as path:
            replace(path, _document(content))

    def set_status(self, status: str) -> None:
        """Records how the run stands: "running", or how it ended ("finished", "interrupted", ...) and when."""
        self.update_manifest(status=status, finished=None if status == "running" else _now())


def create(
    out: Path,
    config: Mapping[str, Any],
    seeds: Sequence[int],
    command: Sequence[str],
    *,
    device_kind: str,
    device_count: int,
) -> list[RunFolder]:
    """Writes the folder of a new run.

    Args:
        out: A folder that holds nothing yet, see `claims.new`, or is not there.
        config: The resolved configuration, as TOML tables. In the folder of one seed among several, `seed` is that
            seed and `seeds` is 1.
        seeds: One or more, all different.
        command: The command line.
        device_kind: What the run computes on.
        device_count: On how many of them.

    Returns:
        One folder for each seed, in order: OUT itself for a single seed, else OUT/seed_<s>.

    Raises:
        UsageError: The folder cannot be written.
    """
    manifest = _manifest(seeds, command) | {"device_kind": device_kind, "device_count": device_count}
    folders = _folders(out, seeds)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_heads(out, config, manifest)
        for seed, folder in zip(seeds, folders, strict=True):
            if folder.path != out:
                folder.path.mkdir()
                alone = restated(config, seed=seed, seeds=1)
                _write_heads(folder.path, alone, manifest | {"seeds": [seed]})
            (folder.path / METRICS).touch()
    except OSError as error:
        raise UsageError(f"cannot write run folder {out}: {error.strerror}") from error
    return folders


def open_run(out: Path) -> tuple[dict[str, Any], list[RunFolder]]:
    """Opens the folder of a run that is to go on.

    Returns:
        The configuration as TOML tables, and one folder for each seed, in order.

    Raises:
        UsageError: The configuration, the manifest or the folder of a seed is missing or cannot be read.
    """
    if not (out / CONFIG).is_file() and runs_in(out):
        raise no_run(out, f"it has no {CONFIG}")
    config = read_toml(out / CONFIG)
    seeds = RunFolder(out).manifest().get("seeds")
    if not seeds or not isinstance(seeds, list) or any(type(seed) is not int for seed in seeds):
        raise UsageError(f"{out / MANIFEST} names no seeds")
    folders = _folders(out, seeds)
    for folder in folders:
        if not (folder.path / METRICS).is_file():
            raise UsageError(f"run folder {out} is not complete: {folder.path / METRICS} is missing")
    return config, folders


def runs_in(folder: Path) -> list[Path]:
    """The runs whose folders lie in one that is no run's, such as those of a comparison."""
    inside = [] if (folder / MANIFEST).is_file() else folder.glob(f"*/{MANIFEST}")
    return sorted(manifest.parent for manifest in inside)


def no_run(folder: Path, why: str) -> UsageError:
    """What is said of a folder that is no run's; if runs lie in it, these are named."""
    inside = [str(run) for run in runs_in(folder)]
    more = f", and {len(inside) - NAMED} more" if len(inside) > NAMED else ""
    named = f"; name one of the runs in it: {', '.join(inside[:NAMED])}{more}" if inside else ""
    return UsageError(f"{folder} is not a run folder: {why}{named}")


def has_ended(out: Path) -> bool:
    """Whether each seed of a run has finished or diverged: nothing is left to be done."""
    statuses = [str(folder.manifest()["status"]) for folder in open_run(out)[1]]
    return all(status == "finished" or status.startswith("diverged") for status in statuses)


def run_of_seed(folder: Path) -> Path | None:
    """The run that a folder is one of several seeds of; None if it is no such folder."""
    out = folder.resolve().parent
    is_seed = re.fullmatch(r"seed_\d+", folder.resolve().name) and (out / MANIFEST).is_file()
    return out if is_seed else None


def lengthen(out: Path, rounds: int) -> dict[str, Any]:
    """Writes a later last round into the configuration of a run; manifests keep the ones before it, as `rounds_before`.

    Returns:
        The new configuration, as TOML tables.
    """
    config, folders = open_run(out)
    for folder in dict.fromkeys([*(each.path for each in folders), out]):  # last the one that speaks for all
        own, run = read_toml(folder / CONFIG), RunFolder(folder)
        run.update_manifest(
            rounds_before=[*run.manifest().get("rounds_before", []), options_of_run(own)["rounds"]]
        )
        with writing(folder / CONFIG) as path:
            replace(path, tomli_w.dumps(restated(own, rounds=rounds)).encode())
    return restated(config, rounds=rounds)


def copy_to_read(out: Path, to: Path) -> None:
    """Copies what a further process of a cluster needs to resume a run: all but figures and sinks.

    Checkpoints, which may be large, stay where they are, and are read from there: the first process, which writes the
    others' too, replaces none before all processes have gone through another round.

    Args:
        out: The run folder.
        to: An empty folder.
    """
    shutil.copytree(
        out,
        to,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(LOCK, CHECKPOINTS, "figures", "tensorboard", "wandb", "*.csv"),
    )
    for mine, theirs in zip(open_run(to)[1], open_run(out)[1], strict=True):
        mine.checkpoints.symlink_to(theirs.checkpoints.absolute())


def write_clients(folder: Path, class_counts: np.ndarray) -> None:
    """Writes `clients.csv`, one row for each client.

    Args:
        folder: The run folder.
        class_counts: i64[N, K], examples of each class; or i64[N], all examples, where there are no classes.
    """
    clients = len(class_counts)
    per_class = class_counts if class_counts.ndim == 2 else np.empty((clients, 0), np.int64)
    sizes = class_counts.reshape(clients, -1).sum(axis=1)
    header = ["client", "examples", *(f"class_{k}" for k in range(per_class.shape[1]))]
    table = np.column_stack([np.arange(clients), sizes, per_class])
    with writing(folder / CLIENTS) as path:
        replace(path, csv_lines([header, *table.tolist()]))


def write_data(folder: Path, outline: Mapping[str, Any]) -> None:
    """Writes `data.json`, what `data.outline` says of the data set."""
    with writing(folder / DATA) as path:
        replace(path, _document(outline))


def read_data(folder: Path) -> tuple[dict[str, Any], list[int]] | None:
    """The outline of the data set, and how many examples each client holds; None for runs that began without it.

    Raises:
        RunError: The files are damaged.
    """
    if not (folder / DATA).is_file():
        return None
    try:
        with (folder / CLIENTS).open(encoding="utf-8", newline="") as file:
            sizes = [int(row["examples"]) for row in csv.DictReader(file)]
        return json.loads((folder / DATA).read_bytes()), sizes
    except (OSError, KeyError, ValueError) as error:
        raise RunError(f"{folder / DATA} or {folder / CLIENTS} is damaged: {error}") from error


def _folders(out: Path, seeds: Sequence[int]) -> list[RunFolder]:
    return [RunFolder(out if len(seeds) == 1 else out / f"seed_{seed}") for seed in seeds]


def _write_heads(folder: Path, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    # Where the locale knows no UTF-8, paths come with its bytes as surrogates.
    replace(folder / CONFIG, tomli_w.dumps(config).encode(errors="surrogateescape"))
    replace(folder / MANIFEST, _document(manifest))


def _manifest(seeds: Sequence[int], command: Sequence[str]) -> dict[str, Any]:
    return {
        "status": "running",
        "started": _now(),
        "finished": None,
        "command": list(command),
        "seeds": list(seeds),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in DISTRIBUTIONS}},
        "platform": platform.platform(),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that the code runs from, `-dirty` if files differ from it; None if installed."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    describe = ["git", "--no-optional-locks", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(describe, cwd=checkout, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _plain(value: Any) -> Any:
    """The value in JSON's types: NumPy and JAX numbers become Python's, what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(row: Row) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _document(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: line {number} is not JSON") from error
    if not isinstance(row, dict) or type(row.get("round")) is not int:
        raise RunError(f"{path} is damaged: line {number} has no round")
    return row
