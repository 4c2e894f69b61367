"""Which process of a run this is, where several share it: options that are never recorded. No JAX here."""

from __future__ import annotations

import dataclasses
import os
import re

from fedjax_sparse import errors
from fedjax_sparse.config.options import AT_LEAST_ONE, NOT_NEGATIVE, Options, option

MAX_PORT = 2**16 - 1
# Where SLURM and Open MPI say which process this is; JAX, which reads the same, is slower to start.
RANKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


@dataclasses.dataclass(frozen=True)
class Cluster(Options):
    """Which process of how many this is; by default the only one.

    Raises:
        UsageError: Options that do not belong together.
    """

    coordinator: str | None = option(
        None,
        "HOST:PORT of process 0 where several processes share a run, or auto under SLURM, MPI or on a TPU",
    )
    num_processes: int | None = option(None, "processes that share a run", allowed=AT_LEAST_ONE)
    process_id: int | None = option(None, "which of them this is, from 0", allowed=NOT_NEGATIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.num_processes is not None, self.process_id is not None
        if self.coordinator in (None, "auto"):
            if any(given):
                raise errors.UsageError(
                    f"--num-processes and --process-id belong to --coordinator HOST:PORT, not to {self.coordinator}"
                )
            return
        assert self.coordinator is not None
        if not re.fullmatch(r".+:\d{1,9}", self.coordinator):
            raise errors.UsageError(
                f"--coordinator = {self.coordinator!r} is not valid; allowed: HOST:PORT, or auto"
            )
        if not 1 <= self.port <= MAX_PORT:
            raise errors.UsageError(
                f"--coordinator = {self.coordinator}: port {self.port} is out of range; allowed: 1 to {MAX_PORT}"
            )
        if self.num_processes is None or self.process_id is None:
            raise errors.UsageError("--coordinator HOST:PORT needs --num-processes and --process-id")
        if self.process_id >= self.num_processes:
            raise errors.UsageError(
                f"--process-id = {self.process_id} is out of range; allowed: 0 to {self.num_processes - 1}"
            )

    @property
    def port(self) -> int:
        """Where the coordinator listens; of HOST:PORT only."""
        assert self.coordinator is not None
        return int(self.coordinator.rpartition(":")[2])

    @property
    def alone(self) -> bool:
        """Whether this process is the only one."""
        return self.coordinator is None

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks and records, as far as that is known before JAX starts."""
        if self.coordinator != "auto":
            return not self.process_id
        return all(os.environ.get(name, "0") == "0" for name in RANKS)


ALONE = Cluster()
