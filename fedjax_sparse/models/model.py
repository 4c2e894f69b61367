"""What the rest of the library knows of a model: pure functions, and what its parameters are.

Axis letters: B batch, T time steps, L parameter leaves.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import errors, trees
from fedjax_sparse.data import arrays
from fedjax_sparse.models import MODELS, spec
from fedjax_sparse.models.initializers import SCHEMES, redraw
from fedjax_sparse.models.layers import DEFAULT, Network, Ops
from fedjax_sparse.types import PyTree, Variables


class Recipe(NamedTuple):
    """The arguments of `build` in JSON's types, from which `build(**recipe.arguments())` makes the same model again."""

    name: str
    input_shape: list[int]
    classes: int
    dtype: str
    compute_dtype: str | None
    options: dict[str, Any]

    def arguments(self) -> dict[str, Any]:
        """Keywords of `build`."""
        stated = self._asdict()
        kinds = {key: value and jnp.dtype(value) for key, value in stated.items() if "dtype" in key}
        return {**stated.pop("options"), **stated, **kinds}


class Model(NamedTuple):
    """A model as pure functions.

    Attributes:
        name: Its name in the registry.
        task: What it predicts.
        init: (key) -> variables; `stats` is () for a model without BatchNorm.
        apply: (variables, x, *, train, key=None, mask=None, ops=DEFAULT) -> (outputs, new stats). `x` is [B, ...],
            normalised floats or, for text, ints; `train` (a Python bool) switches dropout and batch statistics on;
            `key` is for dropout; `mask` (bool[B]) keeps padded examples out of batch statistics.
        loss: (outputs, y) -> f[B], the loss of each example.
        correct: (outputs, y) -> f[B], the fraction of each example that is right; None for regression.
        units: (y) -> i32[B], the predictions that each example asks for, over which its loss is a mean: 1 or, for text,
            the positions with a label. What is reported of a test set is a mean over all of its predictions.
        kinds: Like the parameters: "kernel", "bias", "norm" or "embedding".
        uses: Like the parameters, ints: multiply-adds per example and entry in a forward pass. 1 in a dense layer,
            the number of output positions in a convolution (padded positions counted), T in a dense layer applied
            at T time steps, 0 for biases, norms and embeddings.
        input_grad: Like the parameters, bools: whether back-propagation needs this layer's input gradient; False
            for a layer that sees only the data.
        recipe: How `build` made it; None for a model that something else has made.
    """

    name: str
    task: arrays.Task
    init: Callable[[jax.Array], Variables]
    apply: Callable[..., tuple[jax.Array, PyTree]]
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    correct: Callable[[jax.Array, jax.Array], jax.Array] | None
    units: Callable[[jax.Array], jax.Array]
    kinds: PyTree
    uses: PyTree
    input_grad: PyTree
    recipe: Recipe | None = None


def build(
    name: str,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    init: str = "own",
    **options: Any,
) -> Model:
    """Makes a model of the registry.

    Args:
        name: A key of `fedjax_sparse.models.MODELS`.
        input_shape: Of one example: (height, width, channels), (features,) or, for text, (time steps,).
        classes: Number of classes; for text the size of the vocabulary; for regression the number of targets.
        dtype: Of parameters and, where `compute_dtype` is None, computation.
        compute_dtype: Of the layers' inputs, weights and outputs; gradients come back in `dtype`. With bfloat16 this is
            mixed precision (Micikevicius et al., arXiv:1710.03740; bfloat16 needs no scaling of the loss). BatchNorm
            statistics and losses are computed in at least float32.
        init: Where kernels and biases start: "own", as the model has it, or as in `fedjax_sparse.models.initializers`:
            "glorot" (Keras), "he", "lecun" (Flax) or "torch".
        **options: The model's own, such as `hidden` of the MLP; see its factory.

    Raises:
        UsageError: Unknown name or option, or a shape or class number that the model cannot take.
    """
    if name not in MODELS:
        errors.unknown_name("model", name, MODELS)
    errors.check_range("classes", classes, 1)
    for kind in (dtype, compute_dtype or dtype):
        if jax.dtypes.canonicalize_dtype(kind) != kind:
            raise errors.UsageError(f"dtype {jnp.dtype(kind).name} needs JAX's 64-bit mode (jax_enable_x64)")
    module, function = MODELS[name].factory.split(":")
    factory = getattr(importlib.import_module(f"fedjax_sparse.models.{module}"), function)
    chosen = spec.check_options(name, {"init": init, **options})
    lower = compute_dtype and jnp.dtype(compute_dtype).name
    recipe = Recipe(name, [*input_shape], classes, jnp.dtype(dtype).name, lower, {**chosen})
    init = chosen.pop("init")
    make = functools.partial(factory, tuple(input_shape), classes, **chosen)
    model = make(dtype=dtype)._replace(recipe=recipe)
    if init != "own":
        model = _starting_from(init, model)
    return model if compute_dtype is None else _computing_as(make(dtype=compute_dtype), model, compute_dtype)


def _starting_from(scheme: str, model: Model) -> Model:
    """`model` with the initial weights of the scheme."""

    def init(key):
        variables = model.init(key)
        return variables._replace(params=redraw(SCHEMES[scheme], variables.params, model.kinds, key))

    return model._replace(init=init)


def _computing_as(lower: Model, model: Model, dtype: Any) -> Model:
    """`model` with the layers of `lower`, the same model in `dtype`."""

    def apply(variables, x, **how):
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), variables.params)
        return lower.apply(variables._replace(params=params), x, **how)

    return model._replace(apply=apply)


class Task(NamedTuple):
    """What outputs mean: the task, the loss, which predictions are right (None for regression), how many there are."""

    name: arrays.Task
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    correct: Callable[[jax.Array, jax.Array], jax.Array] | None
    units: Callable[[jax.Array], jax.Array]


def _at_least_float32(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _cross_entropy(logits, y):
    scores = jax.nn.log_softmax(_at_least_float32(logits))
    # Not looked up by index: the gradient of that is a scatter, six operations where a small model has forty.
    own = jax.nn.one_hot(y, logits.shape[-1], dtype=bool)
    return -jnp.sum(jnp.where(own, scores, 0), axis=-1)


def _is_argmax(logits, y):
    return (jnp.argmax(logits, axis=-1) == y).astype(_at_least_float32(logits).dtype)


def _logistic_loss(logit, y):
    logit = _at_least_float32(logit)[..., 0]
    return jax.nn.softplus(logit) - y * logit


def _logistic_correct(logit, y):
    return ((logit[..., 0] > 0) == (y > 0)).astype(_at_least_float32(logit).dtype)


def _squared_error(outputs, y):
    outputs = _at_least_float32(outputs)
    return jnp.sum((outputs - y.reshape(outputs.shape)) ** 2, axis=-1)


def _one_each(y):
    return jnp.ones(y.shape[:1], jnp.int32)


def _real_positions(y):
    return jnp.sum(y >= 0, axis=-1, dtype=jnp.int32)


def _over_real_positions(per_position):
    """Mean over the positions of each text whose label is not -1; 0 for a text without any."""

    def mean(logits, y):
        real = y >= 0
        values = jnp.where(real, per_position(logits, jnp.maximum(y, 0)), 0)
        return jnp.sum(values, axis=-1) / jnp.maximum(jnp.sum(real, axis=-1), 1)

    return mean


CLASSIFICATION = Task("classification", _cross_entropy, _is_argmax, _one_each)
BINARY = Task("classification", _logistic_loss, _logistic_correct, _one_each)
REGRESSION = Task("regression", _squared_error, None, _one_each)
NEXT_CHARACTER = Task(
    "text", _over_real_positions(_cross_entropy), _over_real_positions(_is_argmax), _real_positions
)


def require_image(name: str, input_shape: tuple[int, ...], smallest: int) -> None:
    """Raises a `UsageError` unless the shape is (height, width, channels) and large enough for all layers."""
    if len(input_shape) != 3 or min(input_shape[:2]) < smallest:
        raise errors.UsageError(
            f"model {name} takes images of shape (height, width, channels) of at least "
            f"{smallest}x{smallest} pixels, not {input_shape}"
        )


def from_network(
    name: str,
    network: Network,
    input_shape: tuple[int, ...],
    task: Task = CLASSIFICATION,
    *,
    text: bool = False,
) -> Model:
    """Wraps a Flax network, called as network(x, train, mask), as a `Model`."""
    example = jax.ShapeDtypeStruct((1, *input_shape), jnp.int32 if text else network.dtype)
    stats_dtype = jnp.promote_types(network.dtype, jnp.float32)

    def init(key):
        # The layers' outputs are of no interest here, so nothing is computed but the parameters.
        made = network.clone(ops=_recording_ops({})).init(
            key, jnp.zeros(example.shape, example.dtype), False, None
        )
        stats = jax.tree.map(lambda leaf: leaf.astype(stats_dtype), made.get("batch_stats", ()))
        return Variables(made["params"], stats)

    def apply(variables, x, *, train, key=None, mask=None, ops=DEFAULT):
        anyone = jnp.array(True) if mask is None else jnp.any(mask)
        if mask is not None:
            mask = mask | ~anyone  # statistics over no example at all would be NaN
        outputs, changed = network.clone(ops=ops).apply(
            {"params": variables.params, "batch_stats": variables.stats or {}},
            x.astype(example.dtype),
            train,
            mask,
            rngs=None if key is None else {"dropout": key},
            mutable=["batch_stats"],
        )
        stats = changed["batch_stats"] if train and variables.stats else variables.stats
        return outputs, trees.where(anyone, stats, variables.stats)

    described = _describe(network, init, example)
    return Model(name, task.name, init, apply, task.loss, task.correct, task.units, *described)


def _recording_ops(uses: dict[str, int]) -> Ops:
    """Ops that compute nothing but shapes, and add each kernel's uses per example to `uses`."""

    def dense(name, x, kernel):
        uses[name] = uses.get(name, 0) + math.prod(x.shape[1:-1])
        return jnp.zeros((*x.shape[:-1], kernel.shape[-1]), x.dtype)

    def conv(name, x, kernel, strides, padding):
        out = jax.eval_shape(lambda x, k: DEFAULT.conv(name, x, k, strides, padding), x, kernel)
        uses[name] = uses.get(name, 0) + math.prod(out.shape[1:3])
        return jnp.zeros(out.shape, x.dtype)

    return Ops(dense, conv)


def _describe(network, init, example):
    """The kinds, uses and input_grad of a model; see `Model`."""
    params, stats = jax.eval_shape(init, jax.random.key(0))
    uses: dict[str, int] = {}
    recording = network.clone(ops=_recording_ops(uses))
    with jax.disable_jit():  # so that a scan over time is a Python loop and every step is recorded
        jax.eval_shape(
            lambda p, s, x: recording.apply({"params": p, "batch_stats": s or {}}, x, False, None),
            params,
            stats,
            example,
        )
    paths = [[key.key for key in path] for path, _ in jax.tree.leaves_with_path(params)]
    norms = {tuple(path[:-1]) for path in paths if path[-1] == "scale"}
    kinds = ["norm" if tuple(path[:-1]) in norms else path[-1] for path in paths]
    # Data enter through the embedding or, where there is none, through the first layer called.
    entrance = [path[:-1] for path, kind in zip(paths, kinds, strict=True) if kind == "embedding"]
    entrance = entrance or [next(iter(uses)).split("/")[:-1]]
    as_params = jax.tree.structure(params).unflatten
    return (
        as_params(kinds),
        as_params([uses.get("/".join(path), 0) for path in paths]),
        as_params([path[:-1] not in entrance for path in paths]),
    )
