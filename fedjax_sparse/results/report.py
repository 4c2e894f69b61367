"""The report of runs or of a comparison: one HTML file that needs no server and no other file. No JAX.

What came of them, what was noted, figures, costs, what was asked for beyond the defaults, and where it ran.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_sparse.config import idle, registry, run_config
from fedjax_sparse.config.comparison import FILE
from fedjax_sparse.costs.units import human_time
from fedjax_sparse.errors import UsageError
from fedjax_sparse.records import run_folder
from fedjax_sparse.results import comparison_figures, comparison_table, figures, html, naming, reading, tables
from fedjax_sparse.results.reading import ACCURACY, SECONDS, Run

CAPTIONS = {
    "accuracy_by_round": "Test accuracy by round",
    "accuracy_by_bytes": "Test accuracy by bytes sent over both links",
    "accuracy_by_seconds": "Test accuracy by simulated time",
    "accuracy_by_sparsity": "Test accuracy by sparsity",
    "loss_by_sparsity": "Test loss by sparsity",
    "loss_by_round": "Losses by round",
    "loss_by_bytes": "Test loss by bytes sent over both links",
    "density_by_round": "Density by round: of the model, and of what is sent",
    "costs": "What the runs cost",
    "layers": "Which layers keep what",
    "masks": "How far masks agree",
    "clients": "Who holds what",
}
OF_THE_FOLDER = ("out", "figures")  # options that decide nothing in a run
OF_ONE_RUN = ("layers", "masks")  # where there are several runs, their files are numbered as these are


def write(folders: Sequence[Path], file: Path) -> Path:
    """Writes the report of these runs together or, where the only folder is one of a comparison, of its runs.

    Raises:
        UsageError: A folder cannot be read as a run, the runs cannot be drawn together, or the file not written.
        RunError: A run's records are damaged.
    """
    if len(folders) == 1 and (folders[0] / FILE).is_file():
        comparison, outcomes = comparison_table.read_all(folders[0])
        runs = [outcome.run for outcome in outcomes if outcome.run]
        title = f"Comparison of {len(outcomes)} runs"
        results = [*_comparison(outcomes, comparison), *_pictures(runs, outcomes, comparison.last)]
    else:
        runs = [reading.read(folder) for folder in folders]
        title = " and ".join(naming.labels(runs)) if len(runs) < 4 else f"{len(runs)} runs"
        results = [*_table(runs), *_pictures(runs)]
    manifests = [_manifests(run.folder) for run in runs]
    parts = [
        f"<p>{escape(naming.title(runs))}</p>",
        *_noted(runs, manifests),
        *results,
        *_costs(runs),
        *_configuration(runs),
        *_environment(runs, manifests),
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(html.page(title, parts), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    return file


def default_file(folders: Sequence[Path]) -> Path:
    """Where the report goes if nobody says: into a folder alone, else into the one that figures of several go to."""
    return folders[0] / "report.html" if len(folders) == 1 else naming.figures_folder(folders) / "report.html"


def _table(runs: Sequence[Run]) -> Iterator[str]:
    header, *rows = zip(*tables.columns(tables.summaries(runs)), strict=True)
    yield "<h2>Results</h2>"
    yield from html.table(header, rows)
    yield f"<p>{tables.SPREAD}; the best score was chosen on the test set.</p>"


def _comparison(
    outcomes: Sequence[comparison_table.Outcome], comparison: comparison_table.Comparison
) -> Iterator[str]:
    score = comparison_table.score_of(outcomes)
    header, rows, caption = comparison_table.cells(
        comparison_table.rows(outcomes, comparison), comparison, score
    )
    yield "<h2>Results</h2>"
    yield from html.table(header, rows)
    yield f"<p>{escape(caption)}</p>"


def _pictures(
    runs: Sequence[Run], outcomes: Sequence[comparison_table.Outcome] = (), last: int = 0
) -> Iterator[str]:
    """The figures that a person looks at first; of a comparison of several sparsities those of each, and against it."""
    chosen = [name for name in figures.FIGURES if name in CAPTIONS]
    if any(run.has(ACCURACY) for run in runs):
        chosen.remove("loss_by_bytes")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        if len({outcome.case.sparsity for outcome in outcomes} - {None}) > 1:
            drawn = comparison_figures.draw(outcomes, out, last)
        else:
            drawn = figures.draw(runs, out, ["png"], chosen)
        drawn += figures.parts(runs, out, ["png"])
        captions = {file: _caption(file, out, naming.labels(runs)) for file in drawn}
        yield "<h2>Figures</h2>"
        yield from html.pictures(
            (file.read_bytes(), caption) for file, caption in captions.items() if caption
        )


def _caption(file: Path, out: Path, labels: Sequence[str]) -> str:
    """What a file shows, and of which run or, in a folder of its own, which sparsity; empty for what is left out."""
    name = file.stem.rstrip("0123456789_")
    number = file.stem.removeprefix(f"{name}_")
    if file.suffix != ".png" or name not in CAPTIONS:
        return ""
    label = f": {labels[int(number) - 1]}" if number.isdecimal() and name in OF_ONE_RUN else ""
    return CAPTIONS[name] + label + ("" if file.parent == out else f", {file.parent.name.replace('-', ' ')}")


def _noted(runs: Sequence[Run], manifests: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """How runs ended, in what they differ, and what they asked for in vain."""
    lines = []
    for name, run, own in zip(naming.labels(runs), runs, manifests, strict=True):
        for manifest in own:
            if manifest.get("status") != "finished":
                seeds = ", ".join(map(str, manifest.get("seeds", [])))
                lines.append(f"{name}, seed {seeds}: {manifest.get('status')}")
        usual = _defaults(run)
        stated = [option for option, value in run.options.items() if value != usual.get(option)]
        lines += [f"{name}: {line}" for line in idle.notes({**usual, **run.options}, stated)]
    if differing := naming.differences(runs):
        lines.append(f"The runs differ in {', '.join(differing)}: their numbers do not answer one question.")
    if lines:
        yield "<h2>Noted</h2>"
        yield html.listed(lines)


def _costs(runs: Sequence[Run]) -> Iterator[str]:
    yield "<h2>Costs</h2>"
    rows = []
    for line in tables.summaries(runs):
        up, down, flops, dense, seconds = (
            values.mean()
            for values in (
                line.uplink_bytes,
                line.downlink_bytes,
                line.flops,
                line.flops_dense,
                line.simulated_seconds,
            )
        )
        rows.append(
            [
                line.run,
                *(tables.si(count, "B") for count in (up, down, up + down)),
                *(tables.si(count, "") for count in (flops, dense)),
                f"{100 * flops / dense:.3g} %" if dense else "",
                "" if np.isnan(seconds) else human_time(seconds),
            ]
        )
    header = ["run", "uplink", "downlink", "both", "training FLOPs", "the same, dense", "share", SECONDS]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    yield from html.table([name.replace("_", " ") for name in header], rows)
    yield "<p>Of a whole run, all clients together; means over seeds.</p>"


def _configuration(runs: Sequence[Run]) -> Iterator[str]:
    """What is not the default of the algorithm, or not the same in all runs."""
    labels, usual = naming.labels(runs), [_defaults(run) for run in runs]
    names = dict.fromkeys(name for options in (*(run.options for run in runs), *usual) for name in options)
    rows = []
    for name in [name for name in names if name not in OF_THE_FOLDER]:
        own = [run.options.get(name) for run in runs]
        defaults = [each.get(name) for each in usual]
        if own != defaults:
            there = [name in {**run.options, **each} for run, each in zip(runs, usual, strict=True)]
            shown = {
                label: _shown(value) for label, value, has in zip(labels, defaults, there, strict=True) if has
            }
            rows.append([name, *map(_shown, own), _together(shown)])
    yield "<h2>Configuration</h2>"
    if rows:
        yield from html.table(["option", *labels, "default"], rows)
    yield "<p>What is not listed has its default; automatic choices are listed as they were made.</p>"


def _together(texts: Mapping[str, str]) -> str:
    """What runs have, by label: in a word where all have the same."""
    different = {*texts.values()}
    return (
        different.pop()
        if len(different) == 1
        else ", ".join(f"{name}: {text}" for name, text in texts.items())
    )


def _defaults(run: Run) -> Mapping[str, Any]:
    """The options of such a run of which nothing is stated; none for an algorithm that is not at hand."""
    try:
        values = run_config.values(run_config.configure(registry.entry(run.algorithm).name))
    except UsageError:
        return run.options
    return {name: value for name, value in values.items() if value is not None}


def _environment(runs: Sequence[Run], manifests: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    yield "<h2>Where and when</h2>"
    facts = [_facts(own[0]) for own in manifests]
    names = dict.fromkeys(name for own in facts for name in own)
    yield from html.table(
        ["", *naming.labels(runs)], [[name, *(own.get(name, "") for own in facts)] for name in names]
    )


def _facts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """A manifest in lines; versions one by one."""
    command = manifest.get("command") or []
    plain = {name: manifest.get(name) for name in ("started", "finished", "platform", "commit")}
    device = f"{manifest.get('device_count', '?')} × {manifest.get('device_kind', '?')}"
    versions = manifest.get("versions") or {}
    known = {**plain, "device": device, **versions, "command": " ".join(map(str, command))}
    return {name: _shown(value) for name, value in known.items()}


def _manifests(folder: Path) -> list[dict[str, Any]]:
    """Of each seed, as far as it can be read."""
    try:
        return [part.manifest() for part in run_folder.open_run(folder)[1]]
    except UsageError:
        return [{"status": "of unknown state: its manifest cannot be read"}]


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
