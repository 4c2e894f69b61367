"""What identifies runs: their settings in the titles of figures, and labels that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fedjax_sparse.results.reading import Run

LONGEST_NAME = 100  # characters of a folder's name, of which a file system takes 255 bytes


class Setting(NamedTuple):
    """What runs have to have in common for their curves to answer one question, in words; empty: nothing is stated."""

    data: str
    partition: str
    cohort: str
    model: str
    network: str


def setting(run: Run) -> Setting:
    """For example digits, dirichlet 0.3, 10 of 20 clients, mlp."""
    options = run.options
    partition = str(options.get("partition", ""))
    if partition.startswith(("dirichlet", "power-law")):
        partition += f" {options.get('alpha')}"
    elif partition in ("shards", "classes"):
        partition += f" {options.get('classes_per_client')}"
    clients, chosen = options.get("clients", "?"), options.get("cohort_size", "?")
    cohort = f"all {clients} clients" if chosen in ("all", clients) else f"{chosen} of {clients} clients"
    network = f"{Path(options['network']).stem} network" if options.get("network") else ""
    return Setting(str(options.get("dataset", "")), partition, cohort, str(options.get("model", "")), network)


def differences(runs: Sequence[Run]) -> list[str]:
    """The fields of `Setting` in which the runs differ."""
    values = zip(*map(setting, runs), strict=True)
    return [field for field, own in zip(Setting._fields, values, strict=True) if len({*own}) > 1]


def title(runs: Sequence[Run]) -> str:
    """What the runs have in common, in what they differ, and what a band means."""
    parts, counts = [setting_of(runs)], sorted({len(run.seeds) for run in runs})
    if counts[-1] > 1:
        parts.append(f"mean and range of {' or '.join(map(str, counts))} seeds")
    return "; ".join(filter(None, parts))


def setting_of(runs: Sequence[Run]) -> str:
    """What the runs have in common, and in what they differ."""
    differing, common = differences(runs), setting(runs[0])._asdict()
    parts = [", ".join(value for field, value in common.items() if field not in differing and value)]
    if differing:
        parts.append(f"not the same: {', '.join(differing)}")
    return "; ".join(filter(None, parts))


def labels(runs: Sequence[Run]) -> list[str]:
    """The shortest names that tell the runs apart: algorithms, folder names, whole paths or, at last, numbers.

    Where settings differ, each name is followed by what is special about its run.
    """
    special = [[getattr(setting(run), field) for field in differences(runs)] for run in runs]
    return [", ".join(filter(None, [name, *own])) for name, own in zip(_names(runs), special, strict=True)]


def titles(runs: Sequence[Run]) -> list[str]:
    """Of figures that each show one of the runs: the name that tells it apart, its setting, and of how many seeds."""
    return [
        ", ".join(filter(None, [name, setting_of([run])]))
        + (f"; mean of {len(run.seeds)} seeds" if len(run.seeds) > 1 else "")
        for name, run in zip(_names(runs), runs, strict=True)
    ]


def _names(runs: Sequence[Run]) -> list[str]:
    """The shortest that tell the runs apart, where need be together with their settings."""
    settings = [setting(run) for run in runs]
    for names in (
        [run.algorithm for run in runs],
        [run.folder.resolve().name for run in runs],
        [str(run.folder) for run in runs],
    ):
        if len({*zip(names, settings, strict=True)}) == len(runs):
            return names
    return _numbered(names)


def _numbered(names: Sequence[str]) -> list[str]:
    """The same folder, named twice, is (1) and (2)."""
    often, seen, numbered = Counter(names), Counter(), []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name} ({seen[name]})" if often[name] > 1 else name)
    return numbered


def figures_folder(folders: Sequence[Path]) -> Path:
    """Where figures go by default: into a run alone; of several, into a folder here that bears their names."""
    if len(folders) == 1:
        return folders[0] / "figures"
    names = [folder.resolve().name for folder in folders]
    joined = "-".join(["figures", *names])
    return Path(
        joined if len(joined) <= LONGEST_NAME else f"figures-{names[0][:50]}-and-{len(names) - 1}-more"
    )
