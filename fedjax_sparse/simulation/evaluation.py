"""What a model is worth on a test set: sums over its examples in fixed-size batches, and accuracies by client."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from fedjax_sparse import trees
from fedjax_sparse.data.population import Population
from fedjax_sparse.devices.meshes import AXIS
from fedjax_sparse.models.model import Model
from fedjax_sparse.types import Variables

Array = jax.Array | np.ndarray


class Objective(NamedTuple):
    """What a federation minimises, f(w) = sum_i p_i mean_j loss(w; x_ij) + l2/2 |w|^2, as K batches of all examples.

    `share`, f[K, B], is p_i / m_i for an example of client i, who holds m_i; 0 for padding. `l2` is f[].
    """

    x: Array
    y: Array
    share: Array
    l2: Array


class TestSet(NamedTuple):
    """A test set cut into K batches, the last one padded: x[K, B, ...], y[K, B, ...], mask bool[K, B].

    `own`, i32[N, S], holds the rows on which each client tests, -1 where it has no more; `objective` is computed
    beside the test. Both are None where nobody asks.
    """

    x: Array
    y: Array
    mask: Array
    own: Array | None = None
    objective: Objective | None = None


class Scores(NamedTuple):
    """Sums over the predictions on test examples; those of several test sets add up.

    Attributes:
        predictions: i32[], their number: that of examples or, for text, of all positions with a label, so that a long
            text counts more than a short one.
        losses: f[]; of a regression, squared errors summed over its targets.
        right: f[], how many predictions are right; NaN for problems without classes.
        confusion: f[classes, classes], how many of the class of a row were taken for that of a column; None where
            nobody asks.
    """

    predictions: jax.Array
    losses: jax.Array
    right: jax.Array
    confusion: jax.Array | None

    @property
    def loss(self) -> jax.Array:
        """Mean over the predictions."""
        return self.losses / self.predictions

    @property
    def accuracy(self) -> jax.Array:
        """The share of predictions that are right; NaN for problems without classes, and where nothing was tested."""
        return self.right / self.predictions


class Answers(NamedTuple):
    """How many predictions each test example asks for, i32[K, B], and how many of them are right, f[K, B]."""

    predictions: jax.Array
    right: jax.Array


class Tested(NamedTuple):
    """A model on a test set.

    Attributes:
        scores: On all of it.
        own: f[N], its accuracy on the rows of each client; None where clients have no tests of their own.
        nonzero: i32[L], entries of each leaf that are not zero.
        objective: f[], of the `Objective`; None where nobody asks.
    """

    scores: Scores
    own: jax.Array | None
    nonzero: jax.Array
    objective: jax.Array | None = None


Evaluate = Callable[[Variables, TestSet], tuple[Scores, Answers]]


def batched(x: np.ndarray, y: np.ndarray, batch_size: int) -> TestSet:
    """Cuts M examples into ceil(M / B) batches of equal size."""
    count = len(x)
    batch_size = min(batch_size, count)
    extra = -count % batch_size

    def cut(array: np.ndarray) -> np.ndarray:
        padded = np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])
        return padded.reshape(-1, batch_size, *array.shape[1:])

    return TestSet(cut(x), cut(y), cut(np.ones(count, bool)))


def objective_of(population: Population, l2: float, batch_size: int) -> Objective:
    """The objective of clients with the population's weights.

    Args:
        population: Of NumPy arrays.
        l2: The weight decay of local training.
        batch_size: Examples computed at once.
    """
    count, weight = np.asarray(population.count), np.asarray(population.weight, np.float64)
    held = np.arange(population.index.shape[1]) < count[:, None]
    rows = np.asarray(population.index)[held]
    share = np.repeat(weight / weight.sum() / count, count)
    cut = batched(np.asarray(population.pool.x)[rows], np.asarray(population.pool.y)[rows], batch_size)
    padded = np.zeros(cut.mask.shape)
    padded[cut.mask] = share
    dtype = jnp.result_type(float)
    return Objective(cut.x, cut.y, padded.astype(dtype), np.asarray(l2, dtype))


def make_objective(model: Model, preprocess: Callable) -> Callable[[Variables, Objective], jax.Array]:
    """Builds (variables, objective) -> f[], with the model in evaluation mode and no augmentation."""

    def objective(variables: Variables, of: Objective) -> jax.Array:
        key = jax.random.key(0)  # nothing is drawn

        def add_batch(total, batch):
            x, y, share = batch
            inputs = preprocess(x, key, False)
            outputs, _ = model.apply(variables, inputs, train=False, key=key, mask=share > 0)
            losses = jnp.where(share > 0, model.loss(outputs, y), 0).astype(share.dtype)
            return total + jnp.sum(share * losses), None

        total, _ = jax.lax.scan(add_batch, jnp.zeros((), of.share.dtype), (of.x, of.y, of.share))
        return total + of.l2 / 2 * trees.dot(variables.params, variables.params).astype(total.dtype)

    return objective


def make_evaluate(model: Model, preprocess: Callable, classes: int | None = None) -> Evaluate:
    """Builds (variables, test set) -> (`Scores`, `Answers`); each prediction counts once, whatever the batch size.

    Args:
        model: What is tested.
        preprocess: (x, key, train) -> model inputs.
        classes: How many there are, where their confusions are counted.
    """

    def evaluate(variables: Variables, test: TestSet) -> tuple[Scores, Answers]:
        key = jax.random.key(0)  # evaluation draws nothing; the model's interface asks for a key

        def add_batch(sums, batch):
            x, y, mask = batch
            inputs = preprocess(x, key, False)
            outputs, _ = model.apply(variables, inputs, train=False, key=key, mask=mask)
            losses = model.loss(outputs, y)
            correct = jnp.full_like(losses, jnp.nan) if model.correct is None else model.correct(outputs, y)
            units = jnp.where(mask, model.units(y), 0)
            right = jnp.where(mask, units * correct, 0)
            confusion = None if classes is None else confusions(outputs, y, mask, classes)
            lost = jnp.sum(jnp.where(mask, units * losses, 0))
            new = Scores(jnp.sum(units), lost, jnp.sum(right), confusion)
            sums = jax.tree.map(lambda total, more: total + more.astype(total.dtype), sums, new)
            return sums, Answers(units, right)

        zero = jnp.zeros((), jnp.result_type(float))
        table = None if classes is None else jnp.zeros((classes, classes), zero.dtype)
        start = Scores(jnp.zeros((), jnp.int32), zero, zero, table)
        return jax.lax.scan(add_batch, start, (test.x, test.y, test.mask))

    return evaluate


def shared_by(evaluate: Evaluate, mesh: Mesh | None) -> Evaluate:
    """The same, each device of the mesh testing its part of the batches; one psum brings the sums together."""
    if mesh is None:
        return evaluate
    everywhere, spread = PartitionSpec(), PartitionSpec(AXIS)

    def local(variables: Variables, x: Array, y: Array, mask: Array) -> tuple[Scores, Answers]:
        scores, answers = evaluate(variables, TestSet(x, y, mask))
        return jax.lax.psum(scores, AXIS), answers

    spread_out = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(everywhere, spread, spread, spread),
        out_specs=(everywhere, spread),
        check_vma=False,  # as where clients train, see `executor`
    )

    def evaluate_shared(variables: Variables, test: TestSet) -> tuple[Scores, Answers]:
        batches = test.mask.shape[0]
        extra = -batches % mesh.size
        rows = (jnp.pad(leaf, ((0, extra), *((0, 0),) * (leaf.ndim - 1))) for leaf in test[:3])
        scores, answers = spread_out(variables, *rows)
        return scores, jax.tree.map(lambda leaf: leaf[:batches], answers)

    return evaluate_shared


def confusions(outputs: jax.Array, y: jax.Array, mask: jax.Array, classes: int) -> jax.Array:
    """f[classes, classes] of one batch: true classes by rows, predicted ones by columns; one logit is two classes."""
    predicted = jnp.argmax(outputs, axis=-1) if outputs.shape[-1] > 1 else outputs[..., 0] > 0
    true, taken = (
        jax.nn.one_hot(labels.astype(jnp.int32), classes, dtype=jnp.result_type(float))
        for labels in (y, predicted)
    )
    return jnp.where(mask[:, None], true, 0).T @ taken


def on_own(answers: Answers, own: Array) -> jax.Array:
    """f[N]: the accuracy on each client's own test rows (`TestSet.own`); NaN where it has none, or no classes."""
    predictions, right = (jnp.where(own >= 0, leaf.reshape(-1)[own], 0) for leaf in answers)
    return jnp.sum(right, axis=1) / jnp.sum(predictions, axis=1)


def rows_of(test: TestSet, rows: jax.Array) -> TestSet:
    """The test examples at i32[S] rows, in batches no larger than the test set's; rows that it has not are masked."""
    size = min(rows.shape[0], test.x.shape[1])
    rows = jnp.pad(rows, (0, -rows.shape[0] % size), constant_values=-1).reshape(-1, size)
    x, y, mask = (leaf.reshape(-1, *leaf.shape[2:]) for leaf in test[:3])
    there = (rows >= 0) & (rows < mask.shape[0])
    return TestSet(x[rows], y[rows], jnp.where(there, mask[rows], False))
