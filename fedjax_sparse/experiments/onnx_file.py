"""A model as ONNX, by jax2onnx: what other runtimes compute from an example as it is stored."""

import logging
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fedjax_sparse.errors import UsageError, optional_package
from fedjax_sparse.models.layers import Ops
from fedjax_sparse.simulation.deployment import TrainedModel

# jax2onnx knows XLA's own operations, not the derivatives and batching rules that ours state.
PLAIN = Ops(
    dense=lambda name, x, kernel: jnp.matmul(x, kernel),
    conv=lambda name, x, kernel, strides, padding: lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
)


def write(model: TrainedModel, origin: Mapping[str, Any]) -> bytes:
    """The content of an ONNX file with one input, f32[B, ...] (i32[B, T] for text), for any B, and the model's outputs.

    Images are expected as numbers from 0 to 1, that is bytes divided by 255; they are normalised inside.

    Args:
        model: What to write.
        origin: Where it comes from; ONNX's own metadata name the producer only, so that it is not written.

    Raises:
        UsageError: jax2onnx is not installed, or does not know an operation of the model.
    """
    del origin
    to_onnx = optional_package("jax2onnx", "onnx", "ONNX needs").to_onnx
    recipe, key = model.model.recipe, jax.random.key(0)
    assert recipe is not None

    def outputs(x):
        x = model.preprocess(x, key, False)
        return model.model.apply(model.variables, x, train=False, key=key, ops=PLAIN)[0]

    kind = jnp.int32 if model.model.task == "text" else jnp.float32
    example = jax.ShapeDtypeStruct(("B", *recipe.input_shape), kind)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    try:
        return to_onnx(outputs, inputs=[example]).SerializeToString()
    except NotImplementedError as error:
        raise UsageError(
            f"jax2onnx cannot write this model: {error}; allowed: safetensors, sparse"
        ) from error
