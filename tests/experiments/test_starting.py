"""Runs that begin from the weights of another."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from fedjax_sparse.cli.commands import main
from fedjax_sparse.config import run_config
from fedjax_sparse.experiments.building import build
from fedjax_sparse.experiments.loading import load_run
from fedjax_sparse.experiments.starting import initial
from fedjax_sparse.records import checkpoints, run_folder

SMALL = ("--clients", "6", "--cohort-size", "3", "--model", "softmax", "--eval-every", "1", "--no-figures")


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Path:
    """Three rounds, of which the first is made the best."""
    out = tmp_path_factory.mktemp("learnt") / "run"
    flags = ("--rounds", "3", "--checkpoint-every", "1", "--client-lr", "0.01")
    assert main(["run", "fedavg", *SMALL, *flags, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("which", ["last", "best"])
def test_a_run_begins_where_the_other_one_was(learnt, which):
    config = run_config.configure(
        "fedsparsify-global", model="softmax", init=str(learnt), init_checkpoint=which
    )
    experiment = build(config, initial(config))
    theirs = load_run(learnt).model(which).variables
    jax.tree.map(np.testing.assert_array_equal, experiment.setting.model.init(jax.random.key(1)), theirs)


def test_the_weights_are_in_the_configuration_and_their_run_is_not_needed_again(learnt, tmp_path):
    out, source = tmp_path / "run", shutil.copytree(learnt, tmp_path / "source")
    flags = ("--rounds", "2", "--checkpoint-every", "1", "--init", str(source), "--client-lr", "1e-6")
    assert main(["run", "fedavg", *SMALL, *flags, "--out", str(out)]) == 0
    shutil.rmtree(source)
    assert run_folder.open_run(out)[0]["data"]["init"] == str(source)
    first, before = run_folder.RunFolder(out).rows()[0], run_folder.RunFolder(learnt).rows()[-1]
    assert first["global_test_loss"] == pytest.approx(before["global_test_loss"], rel=1e-4)
    assert main(["resume", str(out)]) == 0
    assert checkpoints.steps(out / "checkpoints") == [1, 2]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--model", "mlp"],
            "holds another model: its params/Dense_0/bias is (10,), that of mlp is (128,)",
        ),
        (["--init", "nowhere"], "cannot read nowhere"),
    ],
)
def test_what_does_not_fit_is_one_line(learnt, tmp_path, flags, words, capsys):
    command = ["run", "fedavg", *SMALL, "--init", str(learnt), *flags, "--out", str(tmp_path / "run")]
    assert main(command) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert words in line
    assert not (tmp_path / "run").exists()
