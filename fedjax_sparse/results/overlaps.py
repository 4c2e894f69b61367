"""The heat maps of how far masks agree: those of the server's model between rounds, and the clients' of one round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedjax_sparse.records import mask_files
from fedjax_sparse.records.mask_files import Kept
from fedjax_sparse.results import drawing, reading
from fedjax_sparse.results.drawing import KINDS
from fedjax_sparse.results.reading import Run
from fedjax_sparse.results.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = "mask_iou_pairs"  # as rounds log them
ABREAST = 3
LETTERS = 34  # of a title above one map


class HeatMap(NamedTuple):
    """Intersection over union of each two of n masks.

    Attributes:
        title: Of whose masks.
        axis: What the places are.
        places: Of the n masks: rounds, or clients of a cohort from 1.
        iou: f[n, n]; NaN where a mask is missing.
        seeds: How many it is the mean of.
    """

    title: str
    axis: str
    places: Sequence[int]
    iou: np.ndarray
    seeds: int


def between_rounds(run: Run) -> HeatMap | None:
    """The server's masks after the evaluated rounds that all seeds have kept; None where there are fewer than two.

    The mask before round 1 is left out: few algorithms have one by then.
    """
    kept = _kept(run)
    rounds = sorted(set.intersection(*({one.round for one in own} for own in kept)) - {0}) if kept else []
    if len(rounds) < 2:
        return None
    of_seeds = [iou([one.server for one in own if one.round in rounds]) for own in kept]
    return HeatMap("server", "Round", rounds, np.mean(of_seeds, axis=0), len(kept))


def between_clients(run: Run) -> list[HeatMap]:
    """The masks that the clients of a cohort sent, in the first and the last evaluated round of the first seed."""
    logged = [one for own in _kept(run)[:1] for one in own if PAIRS in one.pairs]
    ends = {one.round: one for one in [*logged[:1], *logged[-1:]]}
    return [
        HeatMap(
            f"clients, round {t}",
            "Client of the cohort",
            range(1, 1 + len(one.pairs[PAIRS])),
            one.pairs[PAIRS],
            1,
        )
        for t, one in ends.items()
    ]


def of_run(run: Run) -> list[HeatMap]:
    """All maps of a run; none where it has kept no masks."""
    rounds = between_rounds(run)
    return [*([] if rounds is None else [rounds]), *between_clients(run)]


def iou(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Intersection over union of each two of n masks u8[B] of bits, f[n, n]; NaN of two that are empty."""
    rows = np.stack(masks)
    both, either = (
        np.stack([np.bitwise_count(of(row, rows)).sum(axis=1, dtype=np.int64) for row in rows])
        for of in (np.bitwise_and, np.bitwise_or)
    )
    return np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)


def agreement(rounds: HeatMap, after: float) -> float:
    """Mean intersection over union of two different masks, both after this share of the rounds; NaN without such."""
    late = np.asarray(rounds.places) > after * rounds.places[-1]
    pairs = rounds.iou[np.ix_(late, late)][~np.eye(late.sum(), dtype=bool)]
    return float(pairs.mean()) if pairs.size else float("nan")


def draw(run: Run, title: str, out: Path, name: str = "masks", kinds: Sequence[str] = KINDS) -> list[Path]:
    """Draws the maps of a run, with their numbers as CSV; nothing where it has kept no masks."""
    maps = of_run(run)
    if not maps:
        return []
    rows = [
        [one.title, a, b, value]
        for one in maps
        for a, values in zip(one.places, one.iou, strict=True)
        for b, value in zip(one.places, values, strict=True)
    ]
    file = write_csv(out / f"{name}.csv", ["masks", "first", "second", "iou"], rows)
    return [*drawing.save(lambda: figure(maps, title), out / name, kinds), file]


def figure(maps: Sequence[HeatMap], title: str) -> Figure:
    """The maps, some abreast, in one scale of shades from 0 to 1, which keep their order in grey."""
    columns = min(len(maps), ABREAST)
    rows = -(-len(maps) // columns)
    figure = drawing.new_figure(3.1 * columns + 0.9, 3.2 * rows + 0.4)
    figure.suptitle(drawing.in_lines(title, 40 * columns))
    places = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axes, one in zip(places, maps, strict=False):
        axes.imshow(one.iou, vmin=0, vmax=1, cmap="viridis", interpolation="nearest", origin="lower")
        axes.set_title(drawing.in_lines(one.title, LETTERS), fontsize=10)
        axes.set(xlabel=one.axis, ylabel=one.axis)
        axes.grid(visible=False)
        shown = [int(i) for i in drawing.evaluated(np.arange(len(one.places)))][
            :: 1 if len(one.places) < 6 else 2
        ]
        labels = [str(one.places[i]) for i in shown]
        axes.set_xticks(shown, labels)
        axes.set_yticks(shown, labels)
    for axes in places[len(maps) :]:
        axes.remove()
    figure.colorbar(places[0].images[0], ax=places[: len(maps)], label="Intersection over union", aspect=30)
    return figure


def _kept(run: Run) -> list[list[Kept]]:
    """What the seeds have kept, those that have kept anything."""
    folders = [folder for folder in reading.seed_folders(run.folder) if (folder / mask_files.MASKS).is_dir()]
    found = [mask_files.read(folder, _rounds(folder)) for folder in folders]
    return [own for own in found if own]


def _rounds(folder: Path) -> list[int]:
    return [row["round"] for row in reading.RunFolder(folder).rows()]
