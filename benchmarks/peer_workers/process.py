"""The parent's side of a peer: its environment, and the process that runs there."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

WORKERS = Path(__file__).parent
LIMIT = 900  # seconds after which an answer is not waited for any longer

# Nobody is told of the runs, and no progress is drawn.
SILENCE = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "TQDM_DISABLE": "1"}


class PeerError(Exception):
    """A framework could not be installed or run; the message says why."""


class Framework(NamedTuple):
    """Who takes part.

    Attributes:
        script: In the folder of workers.
        arguments: Of the script, behind the workload's name.
        installs: What pip installs, one call after another; none where the script runs in this environment.
        environment: The name of the folder that they are installed in.
        note: What the table says of it.
        commit: Of the checkout that is installed; another one is installed anew.
        python: The interpreter that the environment is made of.
    """

    script: str
    arguments: tuple[str, ...] = ()
    installs: tuple[list[str], ...] = ()
    environment: str = ""
    note: str = ""
    commit: str = ""
    python: str = sys.executable


def python_of(framework: Framework, folder: Path) -> Path:
    """The interpreter that has the framework; makes its environment unless one with the same contents is there."""
    if not framework.installs:
        return Path(sys.executable)
    home = folder.absolute() / framework.environment
    python, receipt = home / "bin" / "python", home / "installed.json"
    wanted = json.dumps([*framework.installs, framework.commit])
    if not receipt.exists() or receipt.read_text() != wanted:
        succeed(framework.python, "-m", "venv", "--clear", home)
        for packages in framework.installs:
            succeed(python, "-m", "pip", "install", "--quiet", "--no-input", *packages)
        receipt.write_text(wanted)
    return python


def succeed(*command: str | Path) -> None:
    """Runs a command to its end; a `PeerError` says what it said last where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerError(last_line(done.stderr))


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")


class Worker:
    """A process that runs rounds when told to, and is stopped otherwise."""

    def __init__(self, framework: Framework, workload: str, envs: Path):
        python = python_of(framework, envs)
        self.log = envs / f"{'-'.join([framework.script, workload, *framework.arguments])}.log"
        environment = os.environ | SILENCE | {"PYTHONPATH": str(WORKERS.parents[1])}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, WORKERS / framework.script, workload, *framework.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                env=environment,
            )
        self.ready = self._answer()

    def run(self, rounds: int) -> float:
        """Seconds that so many rounds take."""
        self.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # why it has gone is read from its log
            print(rounds, file=self.process.stdin)
        return self._answer()["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        alarm = threading.Timer(LIMIT, self.process.kill)
        alarm.start()
        line = next((line for line in self.process.stdout if line.startswith("{")), "")
        alarm.cancel()
        if not line:
            self.process.communicate()
            killed = self.process.returncode == -signal.SIGKILL
            why = (
                f"killed: no memory, or no answer in {LIMIT} s" if killed else last_line(self.log.read_text())
            )
            raise PeerError(why)
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def end(self) -> None:
        """Lets the process finish, and kills it where it does not; nothing where it has ended."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
