"""A model as one file: the same predictions, and a clear word where it is another model."""

import json

import jax
import numpy as np
import pytest

import fedjax_sparse
from fedjax_sparse.data.transforms import Preprocess
from fedjax_sparse.errors import RunError, UsageError
from fedjax_sparse.simulation.deployment import TrainedModel

MODELS = {
    "mlp": ({"hidden": (16, 8), "init": "torch"}, (6, 6, 1), 4),
    "lenet5": ({}, (16, 16, 3), 4),
}


def trained(name, **how):
    """An untrained model of which nine tenths of the weights are zero."""
    options, shape, classes = MODELS[name]
    model = fedjax_sparse.build_model(name, shape, classes, **{**options, **how})
    variables = jax.tree.map(sparse, model.init(jax.random.key(0)))
    dtype = jax.tree.leaves(variables.params)[0].dtype
    return TrainedModel(model, Preprocess((0.3,), (0.5,), dtype, True), variables)


def sparse(leaf):
    keep = jax.random.uniform(jax.random.key(leaf.size), leaf.shape) < 0.1
    return jax.numpy.where(keep, leaf, jax.numpy.zeros_like(leaf))


def examples(model):
    """A few images of bytes, as a data set holds them."""
    return np.random.default_rng(0).integers(0, 256, (3, *model.model.recipe.input_shape)).astype(np.uint8)


@pytest.mark.parametrize("format", ["safetensors", "sparse"])
@pytest.mark.parametrize("how", [{}, {"dtype": "bfloat16"}, {"compute_dtype": "bfloat16"}])
def test_a_loaded_model_predicts_the_same(how, format, tmp_path):
    model = trained("mlp", **how)
    saved = fedjax_sparse.save_model(model, tmp_path / "new" / "folder" / f"model.{format}")
    assert saved.file_bytes == saved.file.stat().st_size
    loaded = fedjax_sparse.load_model(saved.file)
    assert loaded.model.recipe == model.model.recipe
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype, loaded.variables, model.variables))
    assert np.array_equal(loaded.outputs(examples(model)), model.outputs(examples(model)))


def test_the_compact_file_of_a_sparse_model_is_small(tmp_path):
    saved = fedjax_sparse.save_model(trained("mlp", hidden=(300,)), tmp_path / "model.sparse")
    assert saved.zeros > 0.89 * saved.parameters
    assert saved.dense_bytes == 4 * saved.parameters
    assert saved.file_bytes < 0.13 * saved.dense_bytes + 2000


def test_what_cannot_be_written_is_refused(tmp_path):
    model = trained("mlp")
    with pytest.raises(UsageError, match=r"unknown format 'pt' \(allowed: onnx, safetensors, sparse"):
        fedjax_sparse.save_model(model, tmp_path / "model.pt")
    with pytest.raises(UsageError, match="it is known how it was built; allowed: those of build_model"):
        fedjax_sparse.save_model(
            model._replace(model=model.model._replace(recipe=None)), tmp_path / "model.sparse"
        )
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*file/model.sparse"):
        fedjax_sparse.save_model(model, tmp_path / "file" / "model.sparse")


def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*nothing: No such file"):
        fedjax_sparse.load_model(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="text is no model that was exported here"):
        fedjax_sparse.load_model(tmp_path / "text")
    (tmp_path / "short").write_bytes(b"FJSPARSE")
    with pytest.raises(RunError, match="short is damaged"):
        fedjax_sparse.load_model(tmp_path / "short")


def test_a_changed_model_is_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    file = fedjax_sparse.save_model(trained("mlp"), tmp_path / "model.safetensors").file
    header = file.read_bytes()[8:]
    about = json.loads(
        json.JSONDecoder().raw_decode(header.decode("latin-1"))[0]["__metadata__"]["fedjax_sparse"]
    )
    tensors = load_file(file)
    tensors.pop("mask/params/Dense_0/kernel")
    name = "params/Dense_0/kernel"

    def refused(message, about=about, kernel=tensors[name]):
        save_file({**tensors, name: kernel}, file, {"fedjax_sparse": json.dumps(about)})
        with pytest.raises(UsageError, match=message):
            fedjax_sparse.load_model(file)

    refused(
        r"holds another model: its .*kernel is \(36, 15\), that of mlp is \(36, 16\)",
        kernel=np.ones((36, 15), "f"),
    )
    refused("has been changed: its .*kernel is float64, and was float32", kernel=np.ones((36, 16)))
    refused("is of version 99; allowed: 1", about | {"version": 99})
    refused("unknown model 'mpl'", about | {"model": about["model"] | {"name": "mpl"}})


@pytest.mark.parametrize("name", ["mlp", "lenet5"])
def test_onnx_computes_the_same(name, tmp_path):
    pytest.importorskip("jax2onnx", reason="needs the extra onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = trained(name)
    file = fedjax_sparse.save_model(model, tmp_path / "model.onnx").file
    session = onnxruntime.InferenceSession(file)
    x = examples(model)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: (x / 255).astype(np.float32)})
    np.testing.assert_allclose(outputs, model.outputs(x), rtol=1e-4, atol=1e-6)


def test_onnx_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jax2onnx", None)
    with pytest.raises(UsageError, match=r"pip install 'fedjax-sparse\[onnx\]'"):
        fedjax_sparse.save_model(trained("mlp"), tmp_path / "model.onnx")
