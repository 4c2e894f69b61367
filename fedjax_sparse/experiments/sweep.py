"""A sweep: every algorithm's settings, as few programs as can be, then who won.

What is tested on is held out of the training examples, see `data.subsets`; the test set is never looked at. Nothing is
kept of a training but its scores, which are written when a program has ended: what is there is not run again.
"""

import functools
import gc
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import tomli_w

from fedjax_sparse.config import run_config
from fedjax_sparse.config import sweep as sweeps
from fedjax_sparse.config.sweep import FILE, WINNERS, Sweep, Trial
from fedjax_sparse.costs.units import human_bytes
from fedjax_sparse.data import subsets
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.experiments import interrupts
from fedjax_sparse.experiments.progress import STDERR, Display, display, say
from fedjax_sparse.experiments.several import in_words
from fedjax_sparse.experiments.together import Batch, batches
from fedjax_sparse.records import claims, trials
from fedjax_sparse.records.trials import Tried
from fedjax_sparse.records.writing import replace, writing
from fedjax_sparse.results import sweep_table as results
from fedjax_sparse.simulation import driver, memory
from fedjax_sparse.simulation.driver import Progress

BYTES_OF_A_TEST = 100  # in the records: a round, an accuracy and a loss, as text


class StoppedError(Exception):
    """A signal asked for the end; `code` is the exit code that says so."""

    def __init__(self, code: int):
        super().__init__()
        self.code = code


def sweep(asked: Sweep, settings: Mapping[str, Sequence[Trial]], out: Path | None) -> int:
    """Runs a sweep, or goes on with it.

    Args:
        asked: What is searched.
        settings: Its trials, by algorithm.
        out: Its folder, new or of the same sweep; None for a new one under runs/.

    Returns:
        The exit code: 0, 1 if an algorithm has no winner, or that of the signal that stopped the sweep.

    Raises:
        UsageError: The folder holds something else or is in use, or there is too little disk.
        RunError: Nothing could be tried.
    """
    first = next(iter(settings.values()))[0].config
    with claims.of_several(out, FILE, f"sweep-{Path(first.data.dataset).stem}") as here:
        _check_same(asked, settings, here)
        tried = trials.read(here)
        pending = {name: [t for t in own if not results.of(t, tried)] for name, own in settings.items()}
        _announce(pending, settings, here)
        with writing(here / FILE) as path:
            replace(path, tomli_w.dumps(sweeps.to_toml_dict(asked)).encode())
        failures: dict[str, str] = {}
        try:
            for name, own in pending.items():
                if own:
                    tried, failure = _try_all(own, asked, tried, here, _display(pending, name))
                    failures |= {name: failure} if failure else {}
        except StoppedError as stopped:
            say(f"go on with: fedjax-sparse sweep --config {here / FILE} --out {here}")
            return stopped.code
        return _report(results.rows(settings, tried, asked, failures), asked, tried, here)


def _check_same(asked: Sweep, settings: Mapping[str, Sequence[Trial]], here: Path) -> None:
    """Refuses to mix two sweeps; over how many rounds means are taken changes the table alone."""
    if not (here / FILE).is_file():
        return
    earlier = Sweep(**sweeps.values_of(run_config.read(here / FILE)))
    if (earlier.trials(), earlier.validation) != (settings, asked.validation):
        raise UsageError(f"{here} holds another sweep, see {here / FILE}; choose another --out")


def _announce(
    pending: Mapping[str, Sequence[Trial]], settings: Mapping[str, Sequence[Trial]], here: Path
) -> None:
    """Says how much is to come; refuses records that would not fit."""
    left, all_of = (sum(map(len, each.values())) for each in (pending, settings))
    if left < all_of:
        say(f"{all_of - left} of {all_of} settings have been tried; going on with the others")
    tests = sum(
        trial.config.run.seeds * (trial.config.training.rounds // trial.config.run.eval_every + 1)
        for own in pending.values()
        for trial in own
    )
    needed, free = BYTES_OF_A_TEST * tests, shutil.disk_usage(here).free
    if needed > free:
        raise UsageError(f"records need up to {human_bytes(needed)}, and {here} has {human_bytes(free)} free")
    if left:
        say(f"records need up to {human_bytes(needed)} of disk; there are no checkpoints")


def _display(pending: Mapping[str, Sequence[Trial]], name: str) -> functools.partial:
    """The display of one algorithm's rounds, in one over all: those of every seed of every setting count."""
    names = [*pending]
    rounds = {other: sum(map(_rounds, own)) for other, own in pending.items()}
    before = sum(rounds[other] for other in names[: names.index(name)])
    label = f"{names.index(name) + 1}/{len(names)} {name}"
    return functools.partial(display, STDERR, sum(rounds.values()), before, before, label)


def _rounds(trial: Trial) -> int:
    return trial.config.training.rounds * trial.config.run.seeds


def _try_all(
    own: Sequence[Trial], asked: Sweep, tried: Sequence[Tried], here: Path, shown: functools.partial
) -> tuple[list[Tried], str]:
    """Everything that has been tried once this algorithm's settings have been, and why they failed, if they did."""
    name, tried, done = own[0].algorithm, [*tried], 0
    seed = own[0].config.partition.partition_seed
    split = functools.partial(subsets.with_validation, share=asked.validation, seed=seed)
    try:
        with shown() as line:
            for batch in batches(own, split):
                say(_describe(name, batch, own))
                tried += _try(batch, line, done)
                trials.write(here, tried)
                done += sum(map(_rounds, batch.trials))
                del batch
                jax.clear_caches()  # memory maps of programs are few in a process
                gc.collect()
    except StoppedError:
        raise
    except Exception as error:  # whatever it is, the other algorithms go on
        say(f"{name} failed: {in_words(error)}")
        return tried, in_words(error)
    return tried, ""


def _describe(name: str, batch: Batch, own: Sequence[Trial]) -> str:
    count, seeds = len(batch.trials), batch.experiment.config.run.seeds
    runs = (
        f"{count} settings"
        if count > 1
        else ", ".join(f"{k} = {v}" for k, v in batch.trials[0].values.items())
    )
    apart = "" if count == len(own) else f" of {len(own)}: what else differs decides what is computed"
    return f"{name}: {runs}{apart}, {seeds} seed{'s' * (seeds > 1)}, one program"


def _try(batch: Batch, line: Display, before: int) -> list[Tried]:
    """The scores of all settings of a program, the seeds of the first, then of the second, ..."""
    experiment, (algorithm, program), several = batch
    run, rounds = experiment.config.run, experiment.config.training.rounds
    seeds = [*run.all_seeds] * len(several)
    rows: list[list[dict[str, Any]]] = [[] for _ in seeds]
    progress: Progress | None = None
    with (
        memory.watched(experiment.setting.chunk),
        interrupts.collected(say, STDERR.show_cursor) as received,
    ):
        for progress in driver.run(
            algorithm,
            experiment.setting,
            seeds,
            evaluate_at=lambda t: t > 0 and t % run.eval_every == 0,
            program=program,
        ):
            for found, row in zip(rows, progress.rows, strict=True):
                found.extend([row] if row else [])
            line.update(before + progress.round * len(seeds), [row for row in progress.rows if row])
            if received and progress.round < rounds:
                raise StoppedError(interrupts.EXIT_CODES[received[0]])
    assert progress is not None  # a run has one round at least
    ends = [ledger.diverged_at for ledger in progress.ledgers]
    owners = [trial for trial in several for _ in run.all_seeds]
    return [_tried(*each) for each in zip(owners, seeds, rows, ends, strict=True)]


def _tried(trial: Trial, seed: int, rows: Sequence[Mapping[str, Any]], diverged_at: int | None) -> Tried:
    classes = all("global_test_accuracy" in row for row in rows)
    return Tried(
        trial.algorithm,
        dict(trial.values),
        seed,
        [row["round"] for row in rows],
        [row["global_test_accuracy"] for row in rows] if classes else None,
        [row["global_test_loss"] for row in rows],
        diverged_at,
    )


def _report(lines: Sequence[results.Row], asked: Sweep, tried: Sequence[Tried], here: Path) -> int:
    """Writes and prints who won."""
    if not tried:
        raise RunError(f"nothing could be tried; {lines[0].algorithm}: {lines[0].failure}")
    won = {line.algorithm: line.winner.trial.values for line in lines if line.winner}
    text = results.markdown(lines, asked, tried)
    with writing(here / WINNERS) as path:
        replace(path, tomli_w.dumps(sweeps.winners_dict(asked, won)).encode())
    with writing(here / "table.md") as path:
        replace(path, text.encode())
    with writing(here / "table.csv") as path:
        results.write_csv(lines, path)
    print(text, end="")
    if won:
        say(f"compare what won: fedjax-sparse compare {' '.join(won)} --tuned {here / WINNERS}")
    return int(len(won) < len(lines))
