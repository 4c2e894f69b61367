"""One run as several processes, one on each host: how they find each other, and how they end when one is lost.

All processes run the same program on the same numbers; only the devices of their mesh lie on different hosts. JAX is
imported only where processes are joined.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NoReturn

from fedjax_sparse import errors

if TYPE_CHECKING:
    from fedjax_sparse.config.cluster import Cluster

HEARTBEAT_SECONDS = 10  # a process that has been silent for so long is lost
ANSWER_SECONDS = 60  # how long processes wait for the others to start; the environment can set another number
ANSWER_VARIABLE = "FEDJAX_SPARSE_COORDINATOR_TIMEOUT"
# How the collectives of CPUs and of GPUs, and the coordinator, report that somebody does not answer.
LOSS = re.compile(r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|heartbeat|coordination service")


@contextlib.contextmanager
def joined(cluster: Cluster, devices: int | Literal["auto"]) -> Iterator[None]:
    """Joins the processes of a cluster around a run; to be entered before JAX starts.

    If anything fails inside, this process ends at once, with one line: a process that only left the others would be
    waited for. When another one is lost, JAX aborts this one from a thread of its own; that too becomes one line.

    Args:
        cluster: Which process this is.
        devices: Devices that share a cohort, over all processes; on CPU each process makes its part of them.

    Raises:
        UsageError: What can be told before anybody is asked: the time to wait is no number, or the port is taken.
    """
    if cluster.alone:
        yield
        return
    seconds = _answer_seconds()
    _check_port(cluster)
    ending = _Ending(f"no answer from the coordinator {cluster.coordinator} or from all its processes")
    try:
        _connect(cluster, devices, seconds)
        ending.reason = "another process of the run was lost; go on from the last checkpoint with: resume"
        yield
    except BaseException as error:
        ending.end(error)
    ending.restore()


def _answer_seconds() -> int:
    text = os.environ.get(ANSWER_VARIABLE, str(ANSWER_SECONDS))
    if not re.fullmatch(r"0*[1-9]\d*", text):
        raise errors.UsageError(f"{ANSWER_VARIABLE} = {text!r} is not valid; allowed: seconds, at least 1")
    return int(text)


def _check_port(cluster: Cluster) -> None:
    """Process 0 is to listen there; JAX would end without a word."""
    if cluster.process_id != 0:
        return
    with socket.socket() as probe:
        # Connections that are closing take no port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", cluster.port))
        except OSError as error:
            raise errors.UsageError(
                f"--coordinator = {cluster.coordinator}: process 0 cannot listen on that port ({error.strerror}); "
                "allowed: a free port of its host"
            ) from None


def _connect(cluster: Cluster, devices: int | Literal["auto"], seconds: int) -> None:
    import jax
    from jax._src import (
        distributed,
    )  # only there is the number of processes known before the devices are made

    from fedjax_sparse.devices import meshes

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            None if cluster.coordinator == "auto" else cluster.coordinator,
            cluster.num_processes,
            cluster.process_id,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:
        raise errors.UsageError(
            f"--coordinator = {cluster.coordinator}: JAX finds no processes to join ({error}); allowed: auto in a job "
            "of SLURM, of Open MPI or on a TPU, else HOST:PORT with --num-processes and --process-id"
        ) from None
    processes = distributed.global_state.num_processes or 1
    meshes.make_devices_of_cores(1 if devices == "auto" else max(devices // processes, 1))


class _Ending:
    """Ends the process with one line, whoever finds out first: Python by an exception, or JAX's threads by abort().

    Before they abort, JAX's threads write a stack trace to file descriptor 2. Unless FEDJAX_SPARSE_DEBUG=1, that
    descriptor leads nowhere from now on, and Python's own stderr goes where it led.
    """

    def __init__(self, reason: str):
        self.reason = reason
        self._first = threading.Lock()
        self._terminal = os.dup(2)
        if os.environ.get("FEDJAX_SPARSE_DEBUG") != "1":
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
            sys.stderr = os.fdopen(os.dup(self._terminal), "w", buffering=1)
        # A handler set from Python would never run: abort() ends the process in the thread that calls it.
        self._on_abort = ctypes.CFUNCTYPE(None, ctypes.c_int)(
            lambda number: self._say_and_exit(self.reason, 1)
        )
        ctypes.CDLL(None).signal(signal.SIGABRT, self._on_abort)

    def end(self, error: BaseException) -> NoReturn:
        """Ends the process for an exception."""
        if isinstance(error, KeyboardInterrupt):
            self._say_and_exit("interrupted", 130)
        if isinstance(error, errors.UsageError | errors.RunError):
            self._say_and_exit(str(error), 2 if isinstance(error, errors.UsageError) else 1)
        lost = LOSS.search(str(error)) is not None
        self._say_and_exit(self.reason if lost else f"{type(error).__name__}: {error}", 1)

    def restore(self) -> None:
        """Gives file descriptor 2 back."""
        os.dup2(self._terminal, 2)

    def _say_and_exit(self, message: str, code: int) -> NoReturn:
        while not self._first.acquire(blocking=False):
            time.sleep(1)  # another thread is ending the process
        os.write(self._terminal, f"fedjax-sparse: error: {' '.join(message.split())}\n".encode())
        os._exit(code)
