"""A run that is on disk, from Python."""

import numpy as np
import pytest

import fedjax_sparse
from fedjax_sparse.cli.commands import main
from fedjax_sparse.errors import UsageError

FLAGS = (
    "--clients 6 --cohort-size 3 --model softmax --rounds 6 --eval-every 2 --checkpoint-every 2 --no-figures"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two seeds of six rounds."""
    out = tmp_path_factory.mktemp("runs") / "run"
    flags = [*FLAGS.split(), "--seeds", "2", "--seed", "5", "--sparsity", "0.95"]
    assert main(["run", "fedsparsify-global", *flags, "--out", str(out)]) == 0
    return out


def test_the_rows_of_all_seeds_are_one_table(folder):
    run = fedjax_sparse.load_run(folder)
    assert (run.config.algorithm, run.config.training.rounds, run.seeds) == ("fedsparsify-global", 6, [5, 6])
    assert [*run.table][:2] == ["seed", "round"]
    assert run.table["seed"].tolist() == 4 * [5] + 4 * [6]
    assert run.table["round"].tolist() == 2 * [0, 2, 4, 6]
    assert run.table["uplink_bytes"].dtype == np.int64
    assert np.isnan(run.table["train_loss"]).tolist() == 2 * [True, False, False, False]
    assert {len(column) for column in run.table.values()} == {8}


@pytest.mark.parametrize("seed", [None, 6])
@pytest.mark.parametrize("which", ["last", "best"])
def test_the_model_of_a_checkpoint_predicts(folder, which, seed):
    run = fedjax_sparse.load_run(str(folder))
    data = fedjax_sparse.load_dataset("digits")
    accuracy = run.table["global_test_accuracy"][run.table["seed"] == (seed or 5)]
    expected = accuracy[-1] if which == "last" else accuracy[1:].max()
    found = np.mean(run.model(which, seed).predict(data.x_test) == data.y_test)
    assert found == pytest.approx(expected, abs=1e-6)


def test_what_is_not_there_is_refused(folder, tmp_path):
    run = fedjax_sparse.load_run(folder)
    with pytest.raises(UsageError, match="seed = 7 is not one of this run; allowed: 5, 6"):
        run.model(seed=7)
    with pytest.raises(UsageError, match="which = 'first' is not valid; allowed: last, best"):
        run.model("first")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"cannot read .*config\.toml"):
        fedjax_sparse.load_run(tmp_path)
