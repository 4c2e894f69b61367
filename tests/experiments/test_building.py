"""An experiment from its configuration: the model follows the data set's task, and what does not fit is refused."""

import jax
import numpy as np
import pytest

from fedjax_sparse.clients import state_store
from fedjax_sparse.config.run_config import configure
from fedjax_sparse.config.sections import Partition
from fedjax_sparse.data import datasets
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.building import build
from fedjax_sparse.models import MODELS
from fedjax_sparse.models import model as models
from fedjax_sparse.simulation.setting import make_population, make_setting

X = np.arange(24, dtype=np.float64).reshape(12, 2) / 24
TEXT = np.arange(36).reshape(12, 3) % 5


@pytest.fixture
def saved(tmp_path):
    def save(x, y):
        path = tmp_path / "own.npz"
        np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
        return str(path)

    return save


def chosen(dataset, **values):
    """The experiment of a small run."""
    return build(configure("fedavg", dataset=dataset, clients=4, cohort_size=2, **values))


@pytest.mark.parametrize(
    ("x", "y", "model"),
    [(X, np.arange(12) % 3, "mlp"), (X, X[:, 0], "linear"), (TEXT, TEXT, "gru")],
)
def test_the_model_follows_the_task_and_is_recorded(saved, x, y, model):
    experiment = chosen(saved(x, y))
    assert (experiment.config.data.model, experiment.setting.model.name) == (model, model)


def test_options_may_be_given_to_the_model_that_follows(saved):
    assert chosen(saved(X, np.arange(12) % 3), model="auto:hidden=3").config.data.model == "mlp:hidden=3"


def test_known_data_sets_have_the_usual_models():
    assert chosen("digits").config.data.model == "mlp"
    assert chosen("synthetic/linear").config.data.model == "linear"


def test_a_chosen_model_decides_what_whole_numbers_are(saved):
    counts = np.arange(12) % 3
    assert chosen(saved(X, counts), model="linear").setting.federation.task == "regression"
    assert chosen(saved(X, counts.astype(float)), model="softmax").setting.federation.task == "classification"


@pytest.mark.parametrize(
    ("x", "y", "model", "allowed"),
    [(X, X[:, 0], "mlp", "linear"), (X, X[:, 0], "gru", "linear"), (TEXT, TEXT, "linear", "gru")],
)
def test_a_model_for_another_task_is_refused_with_those_that_fit(saved, x, y, model, allowed):
    with pytest.raises(UsageError, match=rf"model {model} is for .*own\.npz is for .*; allowed: {allowed}$"):
        chosen(saved(x, y), model=model)


def test_a_setting_in_python_is_checked_too():
    data = datasets.load("synthetic/linear")
    population = make_population(data, Partition("natural", clients=10))
    with pytest.raises(
        UsageError, match="model mlp is for classification, and synthetic/linear is for regression"
    ):
        make_setting(data, models.build("mlp", (20,), 1), population)


@pytest.mark.parametrize("name", ["linear", "logistic", "softmax", "mlp", "gru"])
def test_a_card_and_its_model_are_for_the_same_task(name):
    shape = (5,) if MODELS[name].task == "text" else (4,)
    assert models.build(name, shape, 2).task == MODELS[name].task


def test_a_batch_is_at_most_all_that_a_client_holds(saved):
    plan = chosen(saved(X, np.arange(12) % 3), batch_size=2**31 - 1).setting.federation.plan
    assert plan.batch_size == 3


def test_augmentation_is_for_images(saved):
    with pytest.raises(
        UsageError, match=r"--augment crops and flips images, .*own\.npz have the shape \(2,\)"
    ):
        chosen(saved(X, np.arange(12) % 3), augment=True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mlp:hidden=99999999x99999999", "parameters, which are counted in 32 bits"),
        ("mlp:hidden=9999x9999", "of which a run needs at least 1.2 GB, but there are 1.0 GB"),
    ],
)
def test_a_model_beyond_memory_is_refused_before_it_is_made(saved, monkeypatch, model, message):
    monkeypatch.setattr(state_store, "available_memory", lambda devices: 10**9)
    with pytest.raises(UsageError, match=message):
        chosen(saved(X, np.arange(12) % 3), model=model)


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend 'cuda'")])
def test_a_platform_that_is_not_there_is_named(monkeypatch, error):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UsageError, match="JAX_PLATFORMS = 'cuda': JAX finds no such device"):
        chosen("digits")


def test_few_owners_are_a_cohort_which_is_recorded(tmp_path):
    x, y, owners = np.eye(12), np.arange(12) % 2, np.arange(12) // 2
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y, client_train=owners)
    made = build(configure("fedavg", dataset=str(tmp_path / "own.npz"), partition="natural"))
    assert made.config.cohorts.cohort_size == made.setting.federation.cohort_size == 6


def test_a_natural_partition_has_all_owners_unless_fewer_are_asked_for():
    flags = {"dataset": "synthetic/linear", "partition": "natural", "cohort_size": 2}
    assert build(configure("fedavg", **flags)).config.partition.clients == 10
    assert build(configure("fedavg", clients=4, **flags)).config.partition.clients == 4
    assert build(configure("fedavg", **flags | {"cohort_size": "all"})).setting.federation.cohort_size == 10
    with pytest.raises(UsageError, match="needs a data set that names the owner of each example"):
        build(configure("fedavg", partition="natural"))
    with pytest.raises(UsageError, match="--cohort-size = 11 is more than --clients = 10"):
        build(configure("fedavg", **flags | {"cohort_size": 11}))
