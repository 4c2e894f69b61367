"""The figure of who holds what, from a run's `clients.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedjax_sparse.errors import UsageError
from fedjax_sparse.records.run_folder import CLIENTS
from fedjax_sparse.results import naming
from fedjax_sparse.results.drawing import COLORS, KINDS, new_figure, save
from fedjax_sparse.results.reading import Run
from fedjax_sparse.results.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLIENTS_BY_ID = 50  # more are sorted, so that the eye finds an order


def draw(run: Run, out: Path, name: str = "clients", kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws who holds what: examples of each client, and below them the share of each class.

    Few clients stand in the order of their ids, many are sorted by their most frequent class.

    Raises:
        UsageError: If the run has no `clients.csv` (columns client, examples, class_0, class_1, ...).
    """
    header, *rows = csv.reader(io.StringIO(run.clients)) if run.clients else [[]]
    if header[:2] != ["client", "examples"] or not rows:
        raise UsageError(f"{run.folder} has no {CLIENTS} with the columns client, examples, class_0, ...")
    table = np.array(rows, np.int64)
    setting = naming.setting(run)
    parts = [setting.data, setting.partition, f"{len(rows):,} clients", f"{table[:, 1].sum():,} examples"]
    title = ", ".join(filter(None, parts))
    file = write_csv(out / f"{name}.csv", header, table.tolist())
    return [*save(lambda: _draw_clients(table[:, 1], table[:, 2:], title), out / name, kinds), file]


def _draw_clients(examples: np.ndarray, classes: np.ndarray, title: str) -> Figure:
    """`examples` [N], `classes` [N, K]; without classes (K = 0) there is only the upper panel."""
    from matplotlib import colors, ticker

    many, order = len(examples) > MOST_CLIENTS_BY_ID, np.arange(len(examples))
    if many:
        order = np.lexsort((-examples, classes.argmax(axis=1))) if classes.size else np.argsort(-examples)
    figure = new_figure(7.0, 4.6 if classes.size else 2.6)
    figure.suptitle(title)
    heights = [1, 2.2] if classes.size else [1]
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    edges = np.arange(len(order) + 1) - 0.5
    panels[0].stairs(examples[order], edges, fill=True, color=COLORS[0])
    panels[0].set(ylabel="Examples", xlim=edges[[0, -1]])
    panels[0].grid(axis="x", visible=False)
    panels[0].yaxis.set_major_formatter("{x:,.0f}")
    if classes.size:
        share = 100 * classes[order] / np.maximum(examples[order, None], 1)
        norm = colors.PowerNorm(0.5, 0, 100)  # so that small shares differ from none
        image = panels[1].imshow(share.T, aspect="auto", cmap="Blues", norm=norm, interpolation="nearest")
        panels[1].set(ylabel="Class")
        panels[1].grid(visible=False)
        panels[1].yaxis.set_major_locator(ticker.MaxNLocator(nbins=10, integer=True))
        figure.colorbar(image, ax=panels[1], label="Share of the client (%)", ticks=[0, 5, 20, 50, 100])
    panels[-1].xaxis.set_major_locator(ticker.MaxNLocator(nbins=12, integer=True))
    kind = "most frequent class" if classes.size else "size"
    panels[-1].set(xlabel=f"Clients, sorted by {kind}" if many else "Client")
    return figure
