"""`compare` on the command line: flags over the file, and refusals in one line."""

import pytest

from fedjax_sparse.cli import comparing
from fedjax_sparse.cli.commands import main

FILE = """
[comparison]
algorithms = ["fedavg", "sparsyfed"]
sparsities = [0.8]
target = 0.5
[training]
local_steps = 5
[records]
out = "there"
figures = false
[algorithm.sparsyfed]
client_lr = 0.25
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "comparison.toml"
    path.write_text(FILE)
    return str(path)


def test_a_file_is_a_whole_comparison(file):
    asked, out, figures = comparing.request(["--config", file])
    assert (asked.algorithms, asked.sparsities, asked.target) == (("fedavg", "sparsyfed"), (0.8,), 0.5)
    assert asked.shared == {"local_steps": 5}
    assert asked.own == {"sparsyfed": {"client_lr": 0.25}}
    assert (str(out), figures) == ("there", False)


def test_flags_win_over_the_file(file):
    args = [
        "--config",
        file,
        "--sparsities",
        "0.9,0.95",
        "--local-epochs",
        "3",
        "--target",
        "none",
        "--out",
        "a",
    ]
    asked, out, _ = comparing.request(args)
    assert (asked.sparsities, asked.target, asked.shared) == ((0.9, 0.95), None, {"local_epochs": 3})
    assert str(out) == "a"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "name the algorithms"),
        (["fedavg", "--sparsity", "0.9"], "unknown argument '--sparsity'"),
        (["fedavg", "flare", "--sparsities", "0.9;0.8"], "--sparsities = '0.9;0.8' is not valid"),
        (["fedavg", "--last", "0"], "--last = 0 is out of range"),
        (["fedavg", "--config", "missing.toml"], "cannot read missing.toml"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(args, words, capsys):
    assert main(["compare", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_an_error_in_the_file_names_it(file, capsys):
    assert main(["compare", "flare", "--config", file]) == 2
    assert "unknown algorithm of [algorithm.NAME] 'sparsyfed'" in capsys.readouterr().err


WINNERS = """
[sweep]
algorithms = ["fedavg", "sparsyfed"]
[grid]
client_lr = [0.1, 0.5]
[partition]
partition = "shards"
[algorithm.fedavg]
client_lr = 0.5
[algorithm.sparsyfed]
client_lr = 0.1
"""


@pytest.fixture
def winners(tmp_path):
    path = tmp_path / "winners.toml"
    path.write_text(WINNERS)
    return str(path)


def test_winners_of_a_sweep_are_what_algorithms_have_apart(file, winners):
    asked, _, _ = comparing.request(["--config", file, "--tuned", winners, "--partition", "shards"])
    assert asked.own == {"fedavg": {"client_lr": 0.5}, "sparsyfed": {"client_lr": 0.25}}  # the file's wins


def test_a_file_may_name_the_winners(tmp_path, winners):
    path = tmp_path / "tuned.toml"
    path.write_text(f'[comparison]\nalgorithms = ["fedavg"]\ntuned = "{winners}"\n')
    asked, _, _ = comparing.request(["--config", str(path)])
    assert asked.own == {"fedavg": {"client_lr": 0.5}}


def test_it_is_said_where_winners_were_tuned_for_something_else_or_win_over_a_flag(winners, capsys):
    comparing.request(["fedavg", "--tuned", winners, "--client-lr", "0.3"])
    said = capsys.readouterr().err
    assert "--client-lr has no effect on fedavg, which has client_lr = 0.5" in said
    assert "was tuned with partition = shards, and this has partition = iid" in said


def test_an_algorithm_without_a_winner_is_refused(winners, capsys):
    assert main(["compare", "fedavg", "flare", "--tuned", winners]) == 2
    words = f"{winners} has no winner for flare; tune it (fedjax-sparse sweep flare ...)"
    assert words in capsys.readouterr().err


def test_a_file_that_has_no_winners_is_refused(file, capsys):
    assert main(["compare", "fedavg", "--tuned", file]) == 2
    assert f"{file}: this is no winners.toml of a sweep" in capsys.readouterr().err


def test_a_name_of_winners_that_is_none_is_refused(tmp_path, capsys):
    path = tmp_path / "tuned.toml"
    path.write_text('[comparison]\nalgorithms = ["fedavg"]\ntuned = 3\n')
    assert main(["compare", "--config", str(path)]) == 2
    assert "--tuned = 3 is not valid" in capsys.readouterr().err
