"""The files under experiments/: each is a run that can be asked for; official ones have every parity option on."""

from pathlib import Path

import jax
import numpy as np
import pytest

from fedjax_sparse import trees
from fedjax_sparse.clients import state_store
from fedjax_sparse.config import run_config
from fedjax_sparse.config.options import declared_options
from fedjax_sparse.errors import UsageError
from fedjax_sparse.experiments.building import build
from fedjax_sparse.models import model as models
from fedjax_sparse.models import spec

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(path for path in FOLDER.rglob("*.toml") if path.parent.name not in ("published", "tuned"))
OFFICIAL = [path for path in FILES if path.stem.endswith("_official")]
WITHOUT_EFFECT = {  # SSFL's own code has neither quirk; and where all steps are pulled none comes after them
    "cifar10_ssfl_official": ("saliency_loss", "dense_start"),
    "cifar100_ssfl_official": ("saliency_loss", "dense_start"),
    "shakespeare_gru_official": ("restart_momentum",),
    "fashion_mnist_random_official": ("keep_ties",),  # a random order has none
}


def read(path: Path) -> run_config.RunConfig:
    return run_config.from_toml_dict(run_config.read(path))


FLARE = [path for path in OFFICIAL if read(path).algorithm == "flare"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_is_a_run_and_leaves_nothing_to_guess(path):
    table = run_config.read(path)
    assert read(path).algorithm == table["algorithm"]["name"]
    assert {"dataset", "model", "partition", "clients", "rounds", "client_lr"} <= set(
        run_config.options_of_run(table)
    )
    assert set(table) <= {*run_config.SECTIONS, "algorithm"}


@pytest.mark.parametrize("path", OFFICIAL, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_official_files_switch_on_every_parity_option(path):
    run = read(path)
    for option in declared_options(type(run.hyper)):
        if "official code" in option.help and option.name not in WITHOUT_EFFECT.get(path.stem, ()):
            assert getattr(run.hyper, option.name) != option.default, option.flag
    assert path.with_name(path.name.replace("_official", "")) in FILES


@pytest.mark.parametrize("path", FLARE, ids=lambda path: path.stem)
def test_official_flare_differs_from_the_plain_one_in_the_parity_options_alone(path):
    plain_path = path.with_name(path.name.replace("_official", ""))
    official, plain = (run_config.to_toml_dict(read(one)) for one in (path, plain_path))
    expected = {"count_rule": "plus-one", "restart_momentum": official["algorithm"]["first_steps"] != "all"}
    assert expected.items() <= official["algorithm"].items()
    assert {"count_rule": "exact", "restart_momentum": False}.items() <= plain["algorithm"].items()
    for table in (official, plain):
        table["algorithm"] |= expected
        table["data"]["model"] = spec.parse(table["data"]["model"])[0]
    assert official == plain


@pytest.mark.parametrize(
    ("stem", "shape", "count"),
    [
        ("mnist_fc_official", (28, 28, 1), 36_356_525),
        ("mnist_cnn_official", (28, 28, 1), 582_026),
        ("cifar10_vgg11_official", (32, 32, 3), 28_144_010),
        ("cifar10_vgg16", (32, 32, 3), 33_638_218),
        ("cifar10_vgg19", (32, 32, 3), 38_947_914),
    ],
)
def test_models_of_the_files_have_the_published_sizes(stem, shape, count):
    name, options = spec.parse(read(FOLDER / "flare" / f"{stem}.toml").data.model)
    model = models.build(name, shape, 10, **options)
    assert trees.size(jax.eval_shape(model.init, jax.random.key(0)).params) == count


def test_the_first_examples_in_their_order_scaled_to_the_unit_interval():
    small = {"clients": 4, "cohort_size": 2, "partition": "consecutive"}
    part = build(run_config.configure("flare", train_examples=101, scaling="unit", **small)).setting
    whole = build(run_config.configure("flare", **small)).setting
    assert np.asarray(part.population.count).tolist() == [26, 25, 25, 25]
    np.testing.assert_array_equal(part.population.pool.x, whole.population.pool.x[:101])
    np.testing.assert_array_equal(part.population.index[1, :25], np.arange(26, 51))
    image = np.asarray(whole.population.pool.x[:3])
    key = jax.random.key(0)
    np.testing.assert_allclose(part.preprocess(image, key, False), image / 255, rtol=1e-6)
    assert np.asarray(whole.preprocess(image, key, False)).min() < 0


def test_images_scaled_to_minus_one_and_one():
    setting = build(run_config.configure("fedavg", scaling="symmetric")).setting
    image, key = np.asarray(setting.population.pool.x[:3]), jax.random.key(0)
    np.testing.assert_allclose(
        setting.preprocess(image, key, False), (image / 255 - 0.5) / 0.5, rtol=1e-5, atol=1e-6
    )


def test_more_examples_than_there_are_are_refused():
    with pytest.raises(UsageError, match=r"--train-examples = 10000 is out of range; allowed: \[1, "):
        build(run_config.configure("flare", train_examples=10_000))


def test_client_states_that_do_not_fit_are_refused_before_anything_compiles(monkeypatch):
    monkeypatch.setattr(state_store, "available_memory", lambda devices: 10**6)
    with pytest.raises(UsageError, match=r"flare keeps .* GB for each of 20 clients.*such as fedavg"):
        build(run_config.configure("flare"))
    build(run_config.configure("fedavg"))
