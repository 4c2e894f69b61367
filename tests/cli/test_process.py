"""Ctrl-C from the first moment on: one line, exit 130, nothing left behind."""

import subprocess
import sys
from pathlib import Path

# Where a shell started the tests in the background, Ctrl-C would be ignored; a person's terminal hears it.
AT_A_TERMINAL = """
import os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
"""

AT_AN_IMPORT = """
from fedjax_sparse.cli.process import run

class Interrupting:
    def find_spec(self, name, *others):
        if name == "tyro":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv = ["fedjax-sparse", "list", "models"]
run()
"""

WHILE_COMPILING = """
from fedjax_sparse.cli.process import run
from fedjax_sparse.simulation import programs

compile_ahead = programs.compile_ahead

def interrupted(*args):
    threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()
    return compile_ahead(*args)

programs.compile_ahead = interrupted
run()
"""


def ended(program: str, *args: str) -> tuple[int, list[str]]:
    """The exit code of a program and what it says to the person before it."""
    done = subprocess.run(
        [sys.executable, "-c", AT_A_TERMINAL + program, *args],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr.splitlines()


def test_while_python_imports():
    assert ended(AT_AN_IMPORT) == (130, ["fedjax-sparse: error: interrupted"])


def test_while_xla_compiles(tmp_path: Path):
    """Which takes longer than three seconds; XLA's threads still run when the process ends."""
    small = ["--clients", "2", "--cohort-size", "2", "--rounds", "2"]
    flags = [*small, "--model", "resnet18", "--cache-dir", str(tmp_path / "cache")]
    code, lines = ended(WHILE_COMPILING, "run", "fedavg", *flags, "--out", str(tmp_path / "runs" / "a"))
    assert (code, lines[-1]) == (130, "fedjax-sparse: error: interrupted")
    assert not (tmp_path / "runs").exists()
