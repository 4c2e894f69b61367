"""A run that was stopped or killed goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fedjax_sparse.config import comparison, sweep
from fedjax_sparse.config import run_config as configs
from fedjax_sparse.config.cluster import ALONE, Cluster
from fedjax_sparse.devices import meshes
from fedjax_sparse.devices.cluster import joined
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.building import build, prepare
from fedjax_sparse.experiments.driving import ONE_RUN, Audience, drive, finish, records_at
from fedjax_sparse.experiments.lengthening import lengthened
from fedjax_sparse.experiments.progress import doing, say
from fedjax_sparse.experiments.starting import initial
from fedjax_sparse.records import claims, run_folder, sinks
from fedjax_sparse.records.recorder import Recorder
from fedjax_sparse.simulation import programs


def resume(
    out: Path,
    command: Sequence[str],
    cluster: Cluster = ALONE,
    *,
    chunk: int | Literal["auto"] | None = None,
    rounds: int | None = None,
    audience: Audience = ONE_RUN,
) -> int:
    """Goes on with a run that was stopped or killed, bit for bit as if it never had been.

    Args:
        out: The run's folder, which all processes of a cluster can read.
        command: As typed, for the manifest.
        cluster: The processes that share the run.
        chunk: Clients trained at once from here on, which changes only rounding; None for as many as before. The
            run's configuration stays what it was.
        rounds: A later last round, also of a run that is finished; None for the one it has. It goes into the run's
            configuration.
        audience: Who watches.

    Returns:
        The exit code, as of `run`.

    Raises:
        UsageError: There is no run here, another process is writing it, its configuration was changed, its checkpoints
            were removed, all of its seeds have diverged, or it cannot be made longer.
        RunError: No checkpoint can be read.
    """
    for command_of, file in {"compare": comparison.FILE, "sweep": sweep.FILE}.items():
        if (out / file).is_file():
            again = f"fedjax-sparse {command_of} --config {out / file} --out {out}"
            raise UsageError(f"{out} holds a {Path(file).stem}: go on with {again}")
    if (whole := run_folder.run_of_seed(out)) is not None:
        raise UsageError(f"{out} is one of several seeds that run together: resume {whole}")
    config = configs.from_toml_dict(run_folder.open_run(out)[0])
    sinks.check(config.records)
    with joined(cluster, config.machine.devices), records_at(claims.held(out)) as here:
        if here != out:
            run_folder.copy_to_read(out, here)
        meshes.anywhere(False)  # nobody changes the folder before all have read it
        return _resume(here, command, chunk, rounds, audience)


def _resume(
    out: Path,
    command: Sequence[str],
    chunk: int | Literal["auto"] | None,
    rounds: int | None,
    audience: Audience,
) -> int:
    table, folders = run_folder.open_run(out)
    recorder = Recorder(folders, table)
    step = recorder.last_step(say)
    if not recorder.running:
        raise UsageError(f"cannot resume {out}: all of its seeds have diverged")
    recorded = configs.from_toml_dict(table)
    config = recorded if rounds is None else lengthened(recorded, rounds)
    if chunk is not None:
        config = configs.changed(config, chunk=chunk)
    meshes.make_again(config.machine.devices)
    with doing(f"loading {config.data.dataset}"):
        experiment = build(config, initial(config) if step is None else None)
    start = recorder.restore(step, programs.state_shapes(experiment.algorithm, experiment.setting), say)
    if config.training.rounds != recorded.training.rounds:
        recorder = Recorder(folders, run_folder.lengthen(out, config.training.rounds))
    for folder in folders:
        folder.update_manifest(resumed=[*command])
    say(f"resuming {out} after round {start.round if start else 0}")
    if start and start.round == config.training.rounds:
        return finish(experiment, out, recorder, audience)
    with doing("compiling"):
        ready = prepare(experiment, config.machine.chunk)
    return drive(ready, out, recorder, start, audience)
