"""Clients that share wide layers train as clients that each have their own, in float64 to 1e-12."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_sparse.clients import shared_weights
from fedjax_sparse.config.registry import make_algorithm
from fedjax_sparse.config.run_config import make_sections
from fedjax_sparse.data import population as populations
from fedjax_sparse.data.datasets import Dataset
from fedjax_sparse.models import model as models
from fedjax_sparse.simulation import driver
from fedjax_sparse.simulation.setting import make_setting, with_shared_chunk
from fedjax_sparse.testing.toy import leaves_close

SIZES = (5, 2, 1, 4, 3)  # whole and partial batches; dropout leaves places empty
FEATURES, HIDDEN, CLASSES = 192, 160, 4
WIDE = {"Dense_0/kernel": (FEATURES, HIDDEN), "Dense_1/kernel": (HIDDEN, HIDDEN)}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def setting_of(shared, **options):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(sum(SIZES), FEATURES))
    y = rng.integers(0, CLASSES, len(x)).astype(np.int32)
    dataset = Dataset("made", x, y, x, y, "classification", CLASSES)
    ends = np.cumsum(SIZES)
    parts = [np.arange(end - size, end) for size, end in zip(SIZES, ends, strict=True)]
    model = models.build("mlp", (FEATURES,), CLASSES, hidden=(HIDDEN, HIDDEN), dtype=jnp.float64)
    chosen = {"rounds": 2, "cohort_size": len(SIZES), "batch_size": 2, "client_lr": 0.3, "devices": 1}
    sections = make_sections({**chosen, **options, "shared_weights": shared})
    return make_setting(dataset, model, populations.build(x, y, parts), **sections)


def trained(name, shared, hyper, **options):
    setting = setting_of(shared, **options)
    assert (setting.federation.make_steps(setting.federation.loss).at_once > 1) == (shared == "auto")
    algorithm = make_algorithm(name, setting.federation, **hyper)
    *_, last = driver.run(algorithm, setting, (1,), evaluate_at=lambda t: False)
    return jax.device_get(last.state)


@pytest.mark.parametrize(
    ("name", "hyper", "options"),
    [
        ("fedavg", {}, {"chunk": 1}),
        ("fedavg", {}, {"chunk": 2, "client_momentum": 0.9, "weight_decay": 0.05, "clip_norm": 0.7}),
        (
            "fedavg",
            {},
            {"chunk": 5, "client_momentum": 0.9, "client_nesterov": True, "local_steps": 3, "dropout": 0.4},
        ),
        ("fedavg", {}, {"chunk": 2, "devices": 2, "epoch_lr_schedule": "step:0.5@1", "local_epochs": 2}),
        ("fedprox", {"mu": 0.4}, {"chunk": 5, "weight_decay": 0.05, "weighting": "uniform"}),
        ("ditto", {}, {"chunk": 5}),
    ],
)
def test_is_the_ordinary_round(name, hyper, options):
    here, there = (trained(name, shared, hyper, **options) for shared in ("auto", "off"))
    leaves_close(here, there)
    assert np.abs(there.server.variables.params["Dense_0"]["bias"]).max() > 1e-3  # where it starts at zero


def test_layers_are_shared_where_rows_are_few():
    model = setting_of("auto").model
    params = jax.eval_shape(model.init, jax.random.key(0)).params
    assert shared_weights.wide_layers(params, model.uses, rows=20) == WIDE
    narrow = shared_weights.wide_layers(params, model.uses, rows=21)  # 4 x 21 x 320 = 26,880 of 25,600: no
    assert narrow == {"Dense_0/kernel": (FEATURES, HIDDEN)}  # 4 x 21 x 352 = 29,568 of 30,720


@pytest.mark.parametrize(("shared", "chunk"), [("auto", len(SIZES)), ("off", 1)])
def test_a_cpu_trains_clients_that_share_layers_together(shared, chunk):
    assert with_shared_chunk(setting_of(shared)).chunk == chunk
