"""One place knows the platform, and can be told that it is another one."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import fedjax_sparse
from fedjax_sparse.devices import meshes, platforms
from fedjax_sparse.models import layers
from fedjax_sparse.simulation import setting

GPU = platforms.accelerator("gpu")


def test_the_platform_is_that_of_jax_unless_another_is_assumed(monkeypatch):
    assert platforms.current() == platforms.CPU
    with platforms.assume(GPU):
        assert platforms.current() == GPU
    assert platforms.current() == platforms.CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert platforms.current() == platforms.accelerator("tpu")


def test_only_a_cpu_is_asked_for_wide_vectors():
    assert platforms.CPU.compiler_options == {"xla_cpu_prefer_vector_width": 512}
    assert GPU.compiler_options == {}


def test_what_is_chosen_follows_what_is_assumed():
    assert setting.choose_chunk("auto", 7, 1) == 1
    assert meshes.choose("auto", 3) == 1
    with platforms.assume(GPU):
        assert setting.choose_chunk("auto", 7, 1) == 7
        assert meshes.choose("auto", 3) == min(jax.device_count(), 3)


@pytest.mark.parametrize(("platform", "form"), [(platforms.CPU, "scan"), (GPU, "dot_general")])
def test_convolutions_of_many_clients_take_the_form_of_what_is_assumed(platform, form):
    x, kernels = jnp.ones((2, 1, 5, 5, 3)), jnp.ones((2, 3, 3, 3, 4))
    with platforms.assume(platform):
        program = str(
            jax.make_jaxpr(jax.vmap(lambda x, kernel: layers.conv(x, kernel, (1, 1), "SAME")))(x, kernels)
        )
    assert form in program
    assert ("conv_general_dilated" in program) == (platform == platforms.CPU)


def test_nobody_else_asks_jax_what_it_runs_on():
    folder = Path(fedjax_sparse.__file__).parent
    asking = [path.name for path in folder.rglob("*.py") if re.search(r"default_backend\(", path.read_text())]
    assert asking == ["platforms.py"]
