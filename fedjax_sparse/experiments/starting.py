"""What another run has learnt, as the beginning of a new one."""

from fedjax_sparse.config.run_config import RunConfig
from fedjax_sparse.devices import meshes
from fedjax_sparse.experiments.loading import load_run
from fedjax_sparse.types import Variables


def initial(config: RunConfig) -> Variables | None:
    """The weights that `--init` names; None where models begin from their own initialisation.

    Raises:
        UsageError: There is no such run, or it has no checkpoint.
        RunError: Its checkpoint is damaged.
    """
    if config.data.init is None:
        return None
    meshes.choose(config.machine.devices, 1)  # the devices of this run, not of the other one
    return load_run(config.data.init).model(config.data.init_checkpoint).variables
