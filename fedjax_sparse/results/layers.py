"""The figure of masks over time: how much of each layer lives after each evaluated round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedjax_sparse.results.drawing import KINDS, evaluated, in_lines, new_figure, save
from fedjax_sparse.results.reading import Run
from fedjax_sparse.results.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = "density/"  # of a run's rows, before the name of the layer
MOST_NAMES = 30  # of layers that fit beside the picture
LETTERS = 90  # of the title above it


class Layers(NamedTuple):
    """What lives of each layer, means over seeds.

    Attributes:
        names: Of the L layers, from the first to the last in the model's parameters.
        rounds: The T rounds that every seed has recorded.
        density: f[L, T], NaN where it was not recorded.
    """

    names: Sequence[str]
    rounds: np.ndarray
    density: np.ndarray


def read(run: Run) -> Layers | None:
    """The run's layers; None where it has recorded none."""
    columns = [key for key in run.seeds[0] if key.startswith(COLUMN)]
    if not columns or not all(seed.keys() >= {*columns} for seed in run.seeds):
        return None
    rounds = min((seed["round"] for seed in run.seeds), key=len)
    density = np.mean([[seed[column][: len(rounds)] for column in columns] for seed in run.seeds], axis=0)
    return Layers([column.removeprefix(COLUMN) for column in columns], rounds, density)


def draw(run: Run, title: str, out: Path, name: str = "layers", kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws the run's layers, with their numbers as CSV; nothing where it has recorded none."""
    layers = read(run)
    if layers is None:
        return []
    file = write_csv(
        out / f"{name}.csv",
        ["round", *layers.names],
        [[t, *column] for t, column in zip(layers.rounds, layers.density.T, strict=True)],
    )
    return [*save(lambda: _draw(layers, title), out / name, kinds), file]


def _draw(layers: Layers, title: str) -> Figure:
    from matplotlib import colors

    count = len(layers.names)
    figure = new_figure(7.0, 1.9 + 0.26 * min(max(count, 3), MOST_NAMES))
    figure.suptitle(in_lines(title, LETTERS))
    axes = figure.subplots()
    middles = (layers.rounds[1:] + layers.rounds[:-1]) / 2
    edges = [layers.rounds[0] - 0.5, *middles, layers.rounds[-1] + 0.5]
    shades = axes.pcolormesh(
        edges,
        np.arange(count + 1) - 0.5,
        100 * layers.density,
        cmap="viridis",
        norm=colors.PowerNorm(0.5, 0, 100),  # so that small densities differ from none
    )
    axes.set(xlabel="Round", ylim=(count - 0.5, -0.5), xticks=evaluated(layers.rounds))
    axes.grid(visible=False)
    shown = range(0, count, -(-count // MOST_NAMES))
    axes.set_yticks(shown, [layers.names[i].removesuffix("/kernel") for i in shown])
    last = axes.secondary_yaxis("right")
    last.set_yticks(shown, [f"{100 * layers.density[i, -1]:.3g}" for i in shown])
    last.set_ylabel("last (%)")
    for side in (axes, last):
        side.tick_params(axis="y", length=0)
    figure.colorbar(
        shades,
        ax=axes,
        location="bottom",
        label="Density of the layer (%)",
        ticks=[0, 1, 5, 10, 20, 50, 100],
        aspect=40,
    )
    return figure
