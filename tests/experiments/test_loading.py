"""A run that is on disk, from Python."""

import jax
import numpy as np
import pytest

import fedjax_sparse
from fedjax_sparse.cli.commands import main
from fedjax_sparse.data import datasets
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
    assert 0.04 < run.table["density/Dense_0/kernel"][3] < 0.06
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


@pytest.mark.parametrize("algorithm", ["salientgrads", "dispfl", "flare"])
def test_models_need_no_data(algorithm, tmp_path, monkeypatch):
    """What prepares with everyone's data, what keeps models at clients, and what keeps other states there."""
    out = tmp_path / "run"
    own = ["--model", "mlp:hidden=8", "--rounds", "1", "--partition", "dirichlet", "--out", str(out)]
    flags = [*FLAGS.split(), *own]
    assert main(["run", algorithm, *flags]) == 0
    x = fedjax_sparse.load_dataset("digits").x_test[:5]
    with_data = fedjax_sparse.load_run(out)
    (out / "data.json").rename(out / "elsewhere")
    expected = with_data.model().outputs(x)
    (out / "elsewhere").rename(out / "data.json")

    def nothing(*_, **__):
        raise UsageError("no data set digits")

    monkeypatch.setattr(datasets, "load", nothing)
    np.testing.assert_array_equal(fedjax_sparse.load_run(out).model().outputs(x), expected)
    (out / "data.json").unlink()
    with pytest.raises(UsageError, match=r"no data set digits \(the run has no data.json, so"):
        fedjax_sparse.load_run(out).model()


def test_a_run_of_several_devices_with_a_network_is_loaded_where_there_is_neither(tmp_path, monkeypatch):
    """Six clients' states, which four devices shared as eight rows."""
    network = tmp_path / "network.toml"
    network.write_text("[[tier]]\nuplink_mbps = 1\ndownlink_mbps = 1\nlatency_ms = 1\ngflops = 1\n")
    flags = [*FLAGS.split(), "--devices", "4", "--cohort-size", "4", "--network", str(network)]
    assert main(["run", "flare", *flags, "--out", str(tmp_path / "run")]) == 0
    network.unlink()
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    run = fedjax_sparse.load_run(tmp_path / "run")
    assert run.table["simulated_seconds"][-1] > run.table["simulated_seconds"][1] > 0
    data = fedjax_sparse.load_dataset("digits")
    found = np.mean(run.model().predict(data.x_test) == data.y_test)
    assert found == pytest.approx(run.table["global_test_accuracy"][-1], abs=1e-6)


@pytest.mark.parametrize("format", ["safetensors", "sparse"])
def test_an_exported_model_predicts_what_the_run_s_does(folder, format, tmp_path, capsys):
    file = tmp_path / "model"
    assert main(["export", str(folder), "--format", format, "--seed", "6", "--out", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{file}\n"
    assert "650 parameters, 94.92 % of them zero: " in err
    x = fedjax_sparse.load_dataset("digits").x_test
    model = fedjax_sparse.load_run(folder).model(seed=6)
    assert np.array_equal(fedjax_sparse.load_model(file).outputs(x), model.outputs(x))


def test_any_checkpoint_is_exported_and_by_default_beside_its_records(folder, capsys):
    assert main(["export", str(folder), "--format", "sparse", "--checkpoint", "4"]) == 0
    file = folder / "seed_5" / "model.sparse"
    assert capsys.readouterr().out == f"{file}\n"
    x = fedjax_sparse.load_dataset("digits").x_test
    model = fedjax_sparse.load_run(folder).model(4)
    assert np.array_equal(fedjax_sparse.load_model(file).outputs(x), model.outputs(x))


def test_what_is_not_there_is_refused(folder, tmp_path):
    run = fedjax_sparse.load_run(folder)
    with pytest.raises(UsageError, match="seed = 7 is not one of this run; allowed: 5, 6"):
        run.model(seed=7)
    with pytest.raises(UsageError, match="which = 'first' is not valid; allowed: last, best"):
        run.model("first")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="no checkpoint of round 3; allowed: 2, 4, 6"):
        run.model(3)
    with pytest.raises(UsageError, match=r"cannot read .*config\.toml"):
        fedjax_sparse.load_run(tmp_path)
