"""Several runs one after another, each in a folder of its own: what has ended is left, what was stopped goes on."""

import functools
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from fedjax_sparse.config.run_config import RunConfig, changed
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.experiments import building, interrupts, resuming, runs
from fedjax_sparse.experiments.driving import Audience
from fedjax_sparse.experiments.progress import STDERR, display, facts, say
from fedjax_sparse.records import run_folder
from fedjax_sparse.records.recorder import Recorder
from fedjax_sparse.records.run_folder import MANIFEST


class Ended(NamedTuple):
    """How several runs ended.

    Attributes:
        failures: Why a run failed, by its name.
        stopped: The exit code of the signal that stopped them; None where they came to their end.
    """

    failures: Mapping[str, str]
    stopped: int | None


def has_ended(folder: Path) -> bool:
    """Whether a run was started in this folder and came to its end."""
    return (folder / MANIFEST).is_file() and run_folder.has_ended(folder)


def run_all(configs: Mapping[str, RunConfig], here: Path, command: Sequence[str]) -> Ended:
    """Runs each configuration in the folder of its name, or goes on with it; one that fails does not stop the others.

    Args:
        configs: What to run, by name, none of which has ended.
        here: The folder of their folders.
        command: As typed, for the manifests.
    """
    failures: dict[str, str] = {}
    for number, (name, config) in enumerate(configs.items()):
        say(f"run {number + 1} of {len(configs)}: {name}")
        try:
            code = _run(config, here / name, command, _audience(configs, number))
        except Exception as error:  # whatever it is, the others go on
            failures[name] = in_words(error)
            say(f"{name} failed: {failures[name]}")
            continue
        if code in interrupts.EXIT_CODES.values():
            return Ended(failures, code)
    return Ended(failures, None)


def _run(config: RunConfig, folder: Path, command: Sequence[str], audience: Audience) -> int:
    """Runs from where it stands; the program, whose memory maps are few in a process, goes with it."""
    try:
        if (folder / MANIFEST).is_file():
            return resuming.resume(folder, command, audience=audience)
        return runs.run(changed(config, out=str(folder)), command, audience=audience)
    finally:
        jax.clear_caches()
        gc.collect()


def _audience(configs: Mapping[str, RunConfig], number: int) -> Audience:
    """One display over all runs, and a line for each that ends."""
    name = [*configs][number]
    rounds = [config.training.rounds for config in configs.values()]
    before = sum(rounds[:number])
    title = f"run {number + 1}/{len(configs)} {name}"
    show: Callable = functools.partial(display, STDERR, sum(rounds), before=before, name=title)

    def report(experiment: building.Experiment, out: Path, recorder: Recorder) -> None:
        last = [rows[-1] for rows in (folder.rows() for folder in recorder.running) if rows]
        if last:
            say("  ".join([name, *facts(last)]))

    return Audience(lambda rounds, done: show(done=before + done), report)


def in_words(error: Exception) -> str:
    """What went wrong, in one line; of what nobody expected, the kind too."""
    kind = "" if isinstance(error, UsageError | RunError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())
