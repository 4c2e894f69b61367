"""A prepared experiment from where it stands to its end, to a signal, or to divergence; recorded on the way."""

import contextlib
import functools
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fedjax_sparse.config import registry
from fedjax_sparse.data.population import Padding, padding
from fedjax_sparse.devices import meshes
from fedjax_sparse.experiments import interrupts
from fedjax_sparse.experiments.building import Experiment, Ready
from fedjax_sparse.experiments.progress import STDERR, Display, display, doing, facts, say, silent
from fedjax_sparse.records import sinks
from fedjax_sparse.records.recorder import Recorder
from fedjax_sparse.results import figures, reading, tables
from fedjax_sparse.simulation import deployment, driver, memory
from fedjax_sparse.simulation.driver import Resume


class Audience(NamedTuple):
    """Who watches a run.

    Attributes:
        display: (rounds, rounds done before) -> where rounds are shown as they pass.
        report: Told of a run that came to its end.
    """

    display: Callable[[int, int], AbstractContextManager[Display]]
    report: Callable[[Experiment, Path, Recorder], None]


def drive(ready: Ready, out: Path, recorder: Recorder, start: Resume | None, audience: Audience) -> int:
    """Runs to the end, to a signal, or until every seed has diverged; records everything on the way.

    Args:
        ready: What to run.
        out: Its folder.
        recorder: Of that folder.
        start: Where it stands; None at the beginning.
        audience: Who watches.

    Returns:
        The exit code: 0, 1 if a seed diverged, or that of the signal that stopped the run.
    """
    experiment = ready.experiment
    config, rounds = experiment.config, experiment.config.training.rounds
    say(ready.memory.describe())
    save_at = driver.every(config.run.checkpoint_every)
    recorder.set_status("running")
    kept = [] if jax.process_index() else recorder.folders  # other processes throw theirs away
    done, stopping = start.round if start else 0, False
    with (
        sinks.attached(kept, config.records),
        memory.watched(experiment.setting.chunk, ready.memory),
        interrupts.collected(say, STDERR.show_cursor) as received,
        audience.display(rounds, done) as shown,
    ):
        for progress in driver.run(
            experiment.algorithm,
            experiment.setting,
            config.run.all_seeds,
            evaluate_at=driver.every(config.run.eval_every),
            stop_at=save_at,
            resume=start,
            program=ready.program,
        ):
            done = progress.round
            if config.run.keep_masks and any(row is not None for row in progress.rows):
                found = deployment.server_masks(experiment.algorithm, experiment.setting, progress.state)
                recorder.keep_masks(progress, found)
            recorder.record(progress, say)
            shown.update(done, [row for row in progress.rows if row])
            stopping = meshes.anywhere(bool(received))
            if (done and save_at(done)) or done == rounds or stopping:
                recorder.save(progress)
            if stopping:
                break
    if stopping and done < rounds:
        recorder.set_status(f"interrupted after round {done}")
        say(f"stopped after round {done} of {rounds}; go on with: fedjax-sparse resume {out}")
        return interrupts.EXIT_CODES[received[0] if received else signal.SIGTERM]
    return finish(experiment, out, recorder, audience)


def finish(experiment: Experiment, out: Path, recorder: Recorder, audience: Audience) -> int:
    """Closes a run that came to its end; returns the exit code."""
    recorder.set_status("finished")
    audience.report(experiment, out, recorder)
    return 0 if len(recorder.running) == len(recorder.folders) else 1


def _report(experiment: Experiment, out: Path, recorder: Recorder) -> None:
    """Prints what came of the run, and draws what is drawn fast: few figures, without PDF, whose fonts take as long."""
    if jax.process_index():
        return
    rows = [rows[-1] for rows in (folder.rows() for folder in recorder.running) if rows]
    if rows:
        say("  ".join([*facts(rows), f"{rows[0]['wall_seconds']:.1f} s of rounds and tests"]))
        run = reading.read(out)
        print(tables.format_table(tables.summaries([run]), tables.terminal_width()))
        if experiment.config.records.figures:
            with doing("drawing figures"):
                figures.draw([run], out / "figures", ["png"], figures.AT_THE_END)
    if not registry.entry(experiment.config.algorithm).sets_its_steps:
        say(padding_of_run(experiment).describe())
    recorded = any(folder.rows() for folder in recorder.folders)
    say(f"records: {out}" if recorded else f"nothing was recorded but the configuration: {out}")


ONE_RUN = Audience(functools.partial(display, STDERR), _report)


def padding_of_run(experiment: Experiment) -> Padding:
    """The work that padding wastes, over all rounds of the first seed, where clients do the local work of the plan."""
    setting, seed = experiment.setting, experiment.config.run.seed
    plan = setting.federation.plan
    counts = np.append(setting.population.count, 0)  # an empty place holds nothing
    rounds = []
    for t in range(1, setting.federation.rounds + 1):
        ids, present = setting.sampler.draw(seed, t)
        held = np.where(present, counts[ids], 0)
        rounds.append(
            padding(
                held,
                batch_size=plan.batch_size,
                epochs=plan.epochs,
                steps=plan.steps,
                chunk=setting.chunk,
                devices=setting.devices,
            )
        )
    return Padding(*map(sum, zip(*rounds, strict=True)))


@contextlib.contextmanager
def records_at(claim: AbstractContextManager[Path]) -> Iterator[Path]:
    """The run's folder, held; for the silent processes of a cluster, those after the first, one that is thrown away.

    Args:
        claim: What the first process enters, see `claims`.
    """
    if jax.distributed.is_initialized() and jax.process_index():
        with silent(), tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
    else:
        with claim as out:
            yield out
