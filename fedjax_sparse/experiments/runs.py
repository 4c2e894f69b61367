"""A new run, from its configuration to its folder."""

from collections.abc import Sequence
from pathlib import Path

import jax

from fedjax_sparse.config import run_config as configs
from fedjax_sparse.config.cluster import ALONE, Cluster
from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.devices import platforms
from fedjax_sparse.devices.cluster import joined
from fedjax_sparse.experiments.building import Ready, build, prepare
from fedjax_sparse.experiments.driving import ONE_RUN, Audience, drive, records_at
from fedjax_sparse.experiments.progress import doing, say
from fedjax_sparse.experiments.starting import initial
from fedjax_sparse.records import claims, run_folder, sinks
from fedjax_sparse.records.recorder import Recorder
from fedjax_sparse.simulation.memory import OutOfMemoryError, TooLargeError


def run(
    config: RunConfig, command: Sequence[str], cluster: Cluster = ALONE, audience: Audience = ONE_RUN
) -> int:
    """Runs a configuration in a new folder.

    Args:
        config: What to run.
        command: As typed, for the manifest.
        cluster: The processes that share the run. The first one records it; the others keep nothing.
        audience: Who watches.

    Returns:
        The exit code: 0, 1 if a seed diverged, or that of the signal that stopped the run.

    Raises:
        UsageError: The configuration cannot be run; no folder is left behind. What can be known at once, such as a
            folder that exists, is known before data are loaded.
        RunError: The run failed.
    """
    sinks.check(config.records)
    what = f"{config.algorithm}-{Path(config.data.dataset).stem}"
    names = [Path(config.records.out)] if config.records.out else claims.automatic(what)
    with joined(cluster, config.machine.devices), records_at(claims.new(names)) as out:
        return _run(config, out, command, audience)


def _run(config: RunConfig, out: Path, command: Sequence[str], audience: Audience) -> int:
    ready = _ready(config)
    experiment = ready.experiment
    table = configs.to_toml_dict(configs.changed(experiment.config, out=str(out)))
    kind, count = jax.devices()[0].device_kind, experiment.setting.devices
    folders = run_folder.create(
        out, table, config.run.all_seeds, command, device_kind=kind, device_count=count
    )
    for folder in folders:
        run_folder.write_clients(folder.path, experiment.holdings)
        run_folder.write_data(folder.path, experiment.outline)
    return drive(ready, out, Recorder(folders, table), None, audience)


def _ready(config: RunConfig) -> Ready:
    """The compiled run. Devices of a CPU share its memory, so that automatic ones are halved until the run fits."""
    automatic = config.machine.devices == "auto" and not jax.distributed.is_initialized()
    while True:
        with doing(f"loading {config.data.dataset}"):
            experiment = build(config, initial(config))
        devices = experiment.setting.devices
        try:
            with doing("compiling"):
                return prepare(experiment, config.machine.chunk)
        except (TooLargeError, OutOfMemoryError):
            if not automatic or devices == 1 or not platforms.current().shares_main_memory:
                raise
        say(f"{devices} devices need more memory than there is; trying {-(-devices // 2)}")
        config = configs.changed(config, devices=-(-devices // 2))
