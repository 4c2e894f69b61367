"""Counts of what is sent and what is computed, taken inside a round; `costs` turns them into bytes and FLOPs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_sparse.types import Message, Trained, Work


class Report(NamedTuple):
    """What one client's work reports of its training: the mean loss f[] and the work done."""

    loss: jax.Array
    work: Work


def dense_message(size: int, sent: jax.Array) -> Message:
    """Every one of `size` scalars, from or to the clients where `sent` (bool[C]) holds."""
    return sparse_message(size, jnp.asarray(size, jnp.int32), sent, located=0, universe=0)


def nothing_sent(places: jax.Array) -> Message:
    """No message, from or to any of the places [C]."""
    return dense_message(0, jnp.zeros(places.shape, bool))


def no_work(places: jax.Array, leaves: int) -> Work:
    """No training at any of the places [C], of a model with so many parameter leaves."""
    none, of_leaves = jnp.zeros(places.shape, jnp.int32), jnp.zeros((*places.shape, leaves), jnp.int32)
    return Work(none, none, of_leaves, of_leaves, of_leaves)


def sparse_message(
    size: jax.Array | int,
    values: jax.Array | int,
    sent: jax.Array,
    *,
    located: jax.Array | int,
    universe: jax.Array | int,
    mask_bits: jax.Array | int = 0,
    code_bits: jax.Array | int = 0,
) -> Message:
    """A part of `size` scalars.

    Args:
        size: i32[] or i32[C], scalars of the whole message.
        values: i32[] or i32[C], scalars sent.
        sent: bool[C], where a message goes at all.
        located: i32[] or i32[C], values whose position the receiver cannot know; 0 for a support that it knows.
        universe: Positions among which the located values lie.
        mask_bits: i32[] or i32[C], bits of a mask or a seed sent beside the values.
        code_bits: i32[] or i32[C], bits of codes that stand for the scalars that are not among the values.
    """
    counts = (size, values, located, universe, mask_bits, code_bits)
    return Message(*(jnp.where(sent, jnp.asarray(count, jnp.int32), 0) for count in counts))


def subset_message(
    size: int, chosen: jax.Array, positions: jax.Array | int, sent: jax.Array, *, beside: int
) -> Message:
    """`chosen` of the scalars at `positions` places, which need their places unless it is all of them.

    Args:
        size: Scalars of the whole message.
        chosen: i32[] or i32[C], at most `positions`.
        positions: Places that sender and receiver both know.
        sent: bool[C], where a message goes at all.
        beside: Scalars that are always sent, such as model statistics.
    """
    located = jnp.where(chosen < positions, chosen, 0)
    return sparse_message(size, chosen + beside, sent, located=located, universe=positions)


def training_work(trained: Trained, live: jax.Array) -> Work:
    """One client's work, with the same live entries i32[L] in all three phases."""
    return Work(trained.examples, trained.steps, live, live, live)
