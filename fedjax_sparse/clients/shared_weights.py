"""Local training in which no client has wide layers of its own: shared weights, and a history of what moved them.

In a round all clients start from the same kernel W [I, O]. What local SGD adds in step s is of low rank: the layer's
inputs x_s [B, I] and the gradients of its outputs g_s [B, O] give the kernel's gradient x_s' g_s. So after its steps a
client's kernel is

    W' = z_0 W + sum_s z_s U_s,    U_s = x_s' g_s / |x_s' g_s|

and is never made. The client keeps the history of x_s and g_s and trains the coordinates z in place of the kernel, from
z = (1, 0, 0, ...):

    x W'    = z_0 x W + ((x X') * z) G     X, G: all rows of the history; x W is one product for a whole chunk
    |x'g|^2 = sum (x x') * (g g')          makes U_s a unit vector, so that norms are those of coordinates

The gradient of z in step s is |x_s' g_s| at place s and zero elsewhere. Momentum, Nesterov's or not, weight decay, the
rate, clipping by the global norm and a proximal term are linear in kernels or know only their norms: they act on z as
they act on a kernel, and the optimiser is the ordinary one. The sum over clients of p_i (W'_i - W) is one product of
all histories.

It is exact, up to rounding. It pays where the rows of a round are few beside the layer, and holds only where nothing
else moves the weights within local training: no mask, no projection, no control variate.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse import trees
from fedjax_sparse.clients.local_training import Gradient, Plan
from fedjax_sparse.clients.steps import Steps, weighted_step
from fedjax_sparse.models.layers import DEFAULT
from fedjax_sparse.types import Product, PyTree, Variables

PAYS = 4  # a layer is shared if its own entries are so many times those of its history
AT_ONCE = 8  # LEAF's FEMNIST CNN took 1.12 times less CPU time with 1, 1.33 with 4, 1.46 with 8, 1.47 with 16


class History(NamedTuple):
    """What has moved one kernel: `inputs` [J, B, I] and `gradients` [J, B, O], zero for steps to come."""

    inputs: jax.Array
    gradients: jax.Array


class Moved(NamedTuple):
    """The change of one kernel: `scale` f[] times the shared kernel, and the product of a history."""

    scale: jax.Array
    by: Product


def wide_layers(params: PyTree, uses: PyTree, rows: int) -> dict[str, tuple[int, int]]:
    """Name -> shape [I, O] of the kernels that are many times larger than a history of so many rows.

    Args:
        params: Of the model, shapes are enough.
        uses: How often an example uses each entry, see `fedjax_sparse.models.model.Model`.
        rows: J B, local steps times batch size, of the client that has most.
    """
    named = zip(trees.names(params), jax.tree.leaves(params), jax.tree.leaves(uses), strict=True)
    dense = {name: leaf.shape for name, leaf, used in named if leaf.ndim == 2 and used == 1}
    return {name: (i, o) for name, (i, o) in dense.items() if PAYS * rows * (i + o) <= i * o}


def with_shared_weights(loss: Callable, wide: Mapping[str, tuple[int, int]], plan: Plan, steps: int) -> Steps:
    """Steps of clients that share the kernels named in `wide`.

    Args:
        loss: (variables, batch, ops) -> (mean loss, new statistics), see `fedjax_sparse.types.Federation`.
        wide: See `wide_layers`.
        plan: Of local training.
        steps: J, of the client that takes most.
    """

    def begin(variables: Variables) -> Variables:
        dtype = jax.tree.leaves(variables.params)[0].dtype
        start = jnp.zeros(1 + steps, dtype).at[0].set(1)
        empty = {
            name: History(*(jnp.zeros((steps, plan.batch_size, size), dtype) for size in shape))
            for name, shape in wide.items()
        }
        params = _replaced(variables.params, dict.fromkeys(wide, start))
        return Variables(params, (variables.stats, empty))

    def take(train, variables, client, t, key):
        start = begin(variables)
        trained = train(_gradient(loss, variables.params, wide), start, client, t, key)
        step, (stats, _) = weighted_step(trained.variables, start, client.weight)
        coordinates = _named(step, wide)
        moved = {
            name: _moved(coordinates[name], history) for name, history in trained.variables.stats[1].items()
        }
        return Variables(_replaced(step, moved), stats), trained

    def total(summed, variables):
        kernels = _named(variables.params, wide)
        sums = {
            name: moved.scale * kernels[name] + moved.by
            for name, moved in _named(summed.params, wide).items()
        }
        return Variables(_replaced(summed.params, sums), summed.stats)

    return Steps(take, total, AT_ONCE)


def _moved(coordinates: jax.Array, history: History) -> Moved:
    inputs, gradients = history
    right = coordinates[1:, None, None] * gradients
    return Moved(coordinates[0], Product(_rows(inputs), _rows(right)))


def _gradient(loss: Callable, kernels: PyTree, wide: Mapping[str, Any]) -> Gradient:
    """The gradient with respect to coordinates in place of wide kernels; its statistics carry the histories on."""

    def gradient(variables, batch):
        stats, histories = variables.stats
        coordinates = _named(variables.params, wide)

        def of_rest(rest, probes):
            inputs: dict[str, jax.Array] = {}

            def dense(name, x, kernel):
                if name not in wide:
                    return DEFAULT.dense(name, x, kernel)
                inputs[name] = x
                return (probes[name] + _apply(x, kernel, coordinates[name], histories[name])).astype(x.dtype)

            params = _replaced(rest, _named(kernels, wide))
            value, new = loss(Variables(params, stats), batch, DEFAULT._replace(dense=dense))
            return value, (new, inputs)

        rest = _replaced(variables.params, dict.fromkeys(wide))
        probes = {name: jnp.zeros_like(history.gradients[0]) for name, history in histories.items()}
        (value, (new, inputs)), (grads, outputs) = jax.value_and_grad(of_rest, argnums=(0, 1), has_aux=True)(
            rest, probes
        )
        along, kept = {}, {}
        for name, history in histories.items():
            x, g = inputs[name], outputs[name]
            norm = _norm(x, g)
            along[name] = _at(batch.step, norm, coordinates[name])
            kept[name] = _remember(history, batch.step, x, g / jnp.where(norm > 0, norm, 1))
        return value, (new, kept), _replaced(grads, along)

    return gradient


def _apply(x: jax.Array, kernel: jax.Array, z: jax.Array, history: History) -> jax.Array:
    """X [B, I] times the kernel that the coordinates z [1 + J] stand for; [B, O]."""
    inputs, gradients = map(_rows, history)
    strengths = jnp.repeat(z[1:], history.inputs.shape[1])[None]
    return z[0] * (x @ kernel) + ((x @ inputs.T) * strengths) @ gradients


def _norm(x: jax.Array, g: jax.Array) -> jax.Array:
    """The Frobenius norm of x' g, f[], from products of rows."""
    return jnp.sqrt(jnp.maximum(jnp.sum((x @ x.T) * (g @ g.T)), 0))


def _at(step: jax.Array, norm: jax.Array, z: jax.Array) -> jax.Array:
    """The gradient of the coordinates z [1 + J]: the norm in the place of the step."""
    return jnp.where(jnp.arange(z.size) == 1 + step, norm, 0).astype(z.dtype)


def _remember(history: History, step: jax.Array, x: jax.Array, g: jax.Array) -> History:
    """With x [B, I] and g [B, O] in the place of the step."""
    here = (jnp.arange(history.inputs.shape[0]) == step)[:, None, None]
    return History(jnp.where(here, x, history.inputs), jnp.where(here, g, history.gradients))


def _rows(steps: jax.Array) -> jax.Array:
    """[J, B, ...] -> [J B, ...]."""
    return steps.reshape(-1, steps.shape[-1])


def _named(params: PyTree, wide: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in the places of the wide kernels, by name."""

    def at(name: str) -> Any:
        here = params
        for key in name.split("/"):
            here = here[key]
        return here

    return {name: at(name) for name in wide}


def _replaced(params: PyTree, new: Mapping[str, Any], above: str = "") -> PyTree:
    """The nested dictionary with other things in the places named."""
    return {
        key: new[above + key]
        if above + key in new
        else _replaced(value, new, f"{above}{key}/")
        if isinstance(value, Mapping)
        else value
        for key, value in params.items()
    }
