"""Run configurations: defaults, TOML and back, and what is refused."""

import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from fedjax_sparse.config import registry, run_config
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.config.sections import Cohorts, Data, Machine, Partition, Records, Run, Server, Training
from fedjax_sparse.errors import UsageError


def through_toml(configured):
    return run_config.from_toml_dict(tomllib.loads(tomli_w.dumps(run_config.to_toml_dict(configured))))


@pytest.mark.parametrize("name", registry.algorithms())
def test_defaults_survive_toml(name):
    assert through_toml(configure(name)) == configure(name)


@given(
    rounds=st.integers(1, 10**6),
    client_lr=st.floats(1e-30, 1e30),
    clip_norm=st.none() | st.floats(1e-3, 1e3),
    local_steps=st.none() | st.integers(1, 100),
    chunk=st.just("auto") | st.integers(1, 10),
    data_dir=st.none() | st.text(st.characters(exclude_categories=["C"])),
    sparsity=st.floats(0, 1, exclude_max=True),
    layerwise=st.booleans(),
)
def test_any_values_survive_toml(**values):
    configured = configure("fedsparsify-global", **values)
    assert through_toml(configured) == configured


def test_a_file_reads_as_documented(tmp_path):
    file = tmp_path / "run.toml"
    own = '[algorithm]\nname = "fedsparsify-global"\nsparsity = 0.5\n'
    file.write_text(f'[data]\nmodel = "cifar_cnn"\n[training]\nrounds = 7\nclient_lr = 1\n{own}')
    wanted = configure("fedsparsify-global", model="cifar_cnn", rounds=7, client_lr=1.0, sparsity=0.5)
    assert run_config.from_toml_dict(run_config.read(file)) == wanted
    file.write_text(
        f'model = "cifar_cnn"\nrounds = 7\nclient_lr = 1\n{own}'
    )  # as versions up to 0.1 wrote them
    assert run_config.from_toml_dict(run_config.read(file)) == wanted


def test_options_are_restated_where_a_file_states_them():
    own = {"algorithm": {"name": "fedavg"}}
    tables = {"partition": {"partition": "iid"}, "training": {"rounds": 7}, **own}
    assert run_config.restated(tables, rounds=9, seed=2, partition="natural") == {
        "partition": {"partition": "natural"},
        "training": {"rounds": 9},
        "run": {"seed": 2},
        **own,
    }
    flat = {"partition": "iid", "rounds": 7, **own}
    assert run_config.restated(flat, rounds=9, partition="natural") == {
        "partition": "natural",
        "rounds": 9,
        **own,
    }
    assert tables["training"] == {"rounds": 7}


def test_local_steps_replace_epochs_in_the_file():
    table = run_config.to_toml_dict(configure("fedavg", local_steps=5))
    assert "local_epochs" not in table["training"]
    assert table["training"]["local_steps"] == 5


def test_all_clients_can_be_the_cohort():
    assert Cohorts(cohort_size="all").places(7) == 7
    assert Cohorts(cohort_size=5).places(7) == 5
    assert configure("fedavg", clients=7, cohort_size="all").partition.clients == 7


def test_options_side_by_side_are_those_of_the_sections():
    assert configure("fedavg", rounds=7, clients=30, chunk=2) == run_config.RunConfig(
        "fedavg",
        configure("fedavg").hyper,
        Data(),
        Partition(clients=30),
        Cohorts(),
        Training(rounds=7),
        Server(),
        Run(),
        Machine(chunk=2),
        Records(),
    )


def test_names_of_options_and_sections_are_unique():
    names = [option.name for option in run_config.run_options()]
    assert len(names) == len(set(names)) == len(run_config.HOMES)
    assert "algorithm" not in run_config.SECTIONS


def test_some_options_of_several_sections_can_be_changed():
    before = configure("fedavg", rounds=7, chunk=2, devices=2)
    after = run_config.changed(before, chunk=1, out="there")
    assert after == configure("fedavg", rounds=7, chunk=1, devices=2, out="there")


def test_a_cohort_that_nobody_states_is_ten_clients_or_all_where_there_are_fewer():
    stated = ({}, {"clients": 5}, {"partition": "natural"}, {"partition": "natural", "clients": 6})
    chosen = [run_config.configure("fedavg", **values).cohorts.cohort_size for values in stated]
    assert chosen == [10, 5, "auto", 6]  # the clients of a natural partition are counted when data are loaded


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sparsity": 1.0}, r"--sparsity = 1.0 is out of range; allowed: \[0, 1\)"),
        ({"sparsity": -0.1}, r"--sparsity = -0.1 is out of range"),
        ({"sparsty": 0.5}, r"unknown option of fedsparsify-global 'sparsty'; did you mean 'sparsity'"),
        ({"rounds": "7"}, r"--rounds = '7' is not valid; allowed: int"),
        ({"rounds": 0}, r"--rounds = 0 is out of range; allowed: \[1, 1000000\]"),
        ({"cohort_size": 21}, r"--cohort-size = 21 is more than --clients = 20; allowed: 1 to 20, or all"),
        ({"cohort_size": "some"}, r"--cohort-size = 'some' is not valid; allowed: int | all | auto"),
        (
            {"local_epochs": 2, "local_steps": 3},
            r"--local-epochs = 2 and --local-steps = 3 exclude each other",
        ),
        (
            {"dataset": "shakespeare", "model": "mlp"},
            r"model mlp is for classification, and shakespeare is for text; allowed: gru$",
        ),
        (
            {"dataset": "synthetic/linear", "model": "softmax"},
            r"model softmax is for classification, and synthetic/linear is for regression; allowed: linear$",
        ),
        (
            {"model": "linear"},
            r"model linear is for regression, and digits is for classification; allowed: logistic",
        ),
        ({"task": "regression"}, r"--task = 'regression' does not fit digits; allowed: classification"),
        ({"rounds": 10**23}, r"--rounds = 100000000000000000000000 is out of range; allowed: \[1, 1000000\]"),
        ({"rounds": 16**6000}, r"--rounds = about 10\^7224 is out of range; allowed: \[1, 1000000\]"),
        ({"rounds": [16**6000]}, r"--rounds = a list is not valid; allowed: int"),
        ({"client_lr": 16**6000}, r"--client-lr = about 10\^7224 is not valid; allowed: float"),
        ({"start_round": 2**31}, r"--start-round = 2147483648 is out of range; allowed: \[0, 2147483647\]"),
        ({"batch_size": 2**31}, r"--batch-size = 2147483648 is out of range; allowed: \[1, 2147483647\]"),
        ({"local_steps": 9999999999}, r"--local-steps = 9999999999 is out of range; allowed: \[1, 1000000\]"),
        ({"clients": 10**9}, r"--clients = 1000000000 is out of range; allowed: \[1, 10000000\]"),
        ({"lr_schedule": "step:0.5@" + "9" * 5000}, r"--lr-schedule = .* is not valid"),
        ({"participation": "9" * 5000 + "-of-10"}, r"unknown participation"),
        (
            {"model": "mlp:hidden=0"},
            r"option hidden of model mlp = 0 is out of range; allowed: \[1, 2147483647\]",
        ),
        ({"model": "mlp:hidden=8x-3"}, r"option hidden of model mlp = '8x-3' is not valid"),
        ({"model": "mlp:hiden=8"}, r"unknown option of model mlp 'hiden'; did you mean 'hidden'"),
        (
            {"model": "resnet18:norm=layer"},
            r"unknown norm of model resnet18 'layer' \(allowed: batch, group\)",
        ),
        ({"model": "mpl"}, r"unknown --model 'mpl'; did you mean 'mlp'"),
        ({"partition": "dirichelt"}, r"unknown --partition 'dirichelt'; did you mean 'dirichlet'"),
        ({"encoding": "bitmap"}, r"unknown --encoding 'bitmap'; did you mean 'bitmask'"),
        ({"participation": "unform"}, r"unknown participation 'unform'; did you mean 'uniform'"),
        ({"participation": "7-of-9"}, r"'7-of-9' does not fit"),
        ({"weighting": "example"}, r"unknown --weighting 'example'; did you mean 'examples'"),
        ({"lr_schedule": "decay"}, r"--lr-schedule = 'decay' is not valid"),
        ({"epoch_lr_schedule": "cosine:2"}, r"F in --epoch-lr-schedule cosine:2 = 2.0 is out of range"),
        ({"seed": -1}, r"--seed = -1 is out of range"),
        ({"seed": 2**31 - 1, "seeds": 2}, r"--seed \+ --seeds - 1 = 2147483648 is out of range"),
        ({"dropout": 1.0}, r"--dropout = 1.0 is out of range; allowed: \[0, 1\)"),
    ],
)
def test_what_is_not_allowed_is_refused_in_one_line(values, message):
    with pytest.raises(UsageError, match=message) as caught:
        configure("fedsparsify-global", **values)
    assert "\n" not in str(caught.value)


def test_control_variates_want_one_step_size_in_a_round():
    with pytest.raises(
        UsageError, match="is not valid with scaffnew, whose control variates need one step size"
    ):
        configure("scaffnew", epoch_lr_schedule="cosine")
    configure("fedavg", epoch_lr_schedule="cosine")


def test_hyperparameters_must_belong_to_the_algorithm():
    with pytest.raises(UsageError, match="does not belong to fedavg"):
        run_config.RunConfig("fedavg", configure("random-pruning").hyper)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, r"names no algorithm; add \[algorithm\]"),
        ({"algorithm": "fedavg"}, r"algorithm = 'fedavg' is not valid; allowed: a table"),
        ({"algorithm": {"name": 3}}, r"is not valid; allowed: a table \[algorithm\] with name"),
        ({"algorithm": {"name": "fedavg", "sparsity": 0.5}}, r"unknown option of fedavg 'sparsity'"),
        (
            {"algorithm": {"name": "fedavg"}, "round": 3},
            r"unknown option of fedavg 'round'; did you mean 'rounds'",
        ),
        (
            {"algorithm": {"name": "fedavg"}, "trainig": {"rounds": 3}},
            r"unknown table 'trainig'; did you mean 'training'",
        ),
        (
            {"algorithm": {"name": "fedavg"}, "training": {"round": 3}},
            r"unknown option of \[training\] 'round'; did you mean 'rounds'",
        ),
        (
            {"algorithm": {"name": "fedavg"}, "data": {"rounds": 3}},
            r"rounds is no option of \[data\]; it belongs to \[training\]",
        ),
        (
            {"algorithm": {"name": "fedavg"}, "rounds": 3, "training": {"rounds": 3}},
            r"rounds is stated twice; keep the one in \[training\]",
        ),
    ],
)
def test_a_wrong_table_is_refused(table, message):
    with pytest.raises(UsageError, match=message):
        run_config.from_toml_dict(table)


@pytest.mark.parametrize("content", [b"rounds = = 3", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"run.toml is not a TOML file"):
        run_config.read(file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*none.toml: No such file"):
        run_config.read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = " + b"[" * 5000 + b"]" * 5000, "is nested too deeply"),
        (b"rounds = " + b"9" * 6000, "is not a TOML file: "),
        (b"rounds = \xff", "is not a TOML file: "),
        (b"rounds = 1\x00", "is not a TOML file: "),
    ],
)
def test_a_file_that_cannot_be_one_is_refused(tmp_path, content, message):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        run_config.read(file)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    file = tmp_path / "run.toml"
    file.write_bytes(b"\xef\xbb\xbfrounds = 7")
    assert run_config.read(file) == {"rounds": 7}
