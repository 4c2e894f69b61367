"""`sweep` on the command line: flags over the file, and refusals in one line."""

import pytest

from fedjax_sparse.cli import sweeping
from fedjax_sparse.cli.commands import main

FILE = """
[sweep]
algorithms = ["fedavg"]
last = 4
[grid]
client_lr = [0.1, 0.2]
[training]
rounds = 3
[records]
out = "there"
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(FILE)
    return str(path)


def test_flags_win_over_the_file(file):
    asked, out = sweeping.request(["fedprox", "--config", file, "--grid", "mu=0,0.1", "--last", "2"])
    assert (asked.algorithms, asked.grid, asked.last) == (("fedprox",), {"mu": (0, 0.1)}, 2)
    assert (asked.shared, str(out)) == ({"rounds": 3}, "there")


def test_the_help_shows_the_grid_of_the_file(file, capsys):
    assert main(["sweep", "--config", file, "--help"]) == 0
    assert "client-lr=0.1,0.2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--grid", "client-lr=0.1"], "name the algorithms"),
        (["fedavg"], "name what is searched"),
        (["fedavg", "--grid", "client-lr"], "--grid = 'client-lr' is not valid"),
        (["fedavg", "--grid", "client-lr=fast"], "fedavg: --client-lr = 'fast' is not valid"),
        (["fedavg", "--grid", "rounds=1,2"], "rounds is a condition that all share"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(args, words, capsys):
    assert main(["sweep", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
