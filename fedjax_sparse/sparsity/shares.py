"""Shares of counts, as whole numbers and exactly, on the device: what float32 would get wrong from 2**24 on."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def ceil_share(total: jax.Array, part: ArrayLike, whole: ArrayLike) -> jax.Array:
    """ceil(total part / whole), i32, exactly; arguments as of `floor_share`."""
    quotient, rest = _long_division(total, part, whole)
    return (quotient + (rest > 0)).astype(jnp.int32)


def floor_share(total: jax.Array, part: ArrayLike, whole: ArrayLike) -> jax.Array:
    """floor(total part / whole), i32, exactly: by long division, since the product may need more than 32 bits.

    Args:
        total: i32[...], not negative.
        part: i32[...], not negative, at most twice `whole`.
        whole: i32[...] or int, positive and below 2**30.
    """
    quotient, _ = _long_division(total, part, whole)
    return quotient.astype(jnp.int32)


def _long_division(total: jax.Array, part: ArrayLike, whole: ArrayLike) -> tuple[jax.Array, jax.Array]:
    total, part, whole = (jnp.asarray(number).astype(jnp.uint32) for number in (total, part, whole))
    quotient, rest = jnp.uint32(0), jnp.uint32(0)
    for place in reversed(range(31)):  # unrolled: this may be done in every local step
        rest = 2 * rest + ((total >> place) & 1) * part
        quotient, rest = 2 * quotient + rest // whole, rest % whole
    return quotient, rest


def apportion(shares: jax.Array, total: jax.Array, rooms: jax.Array) -> jax.Array:
    """Gives `total` seats one by one to whoever is furthest below its share and has room; ties to the first.

    Where there is room for all this is the method of largest remainders.

    Args:
        shares: f[L], whose sum is `total`.
        total: i32[], seats; as many as there is room for are given.
        rooms: i32[L], the most that each may get.

    Returns:
        i32[L].
    """
    total = jnp.minimum(total, jnp.sum(rooms))

    def given(level):
        """Seats that leave everyone at most `level` below its share."""
        return jnp.clip(jnp.ceil(shares - level).astype(jnp.int32), 0, rooms)

    def halve(_, bounds):
        low, high = bounds  # at `low` too many are given, at `high` not
        middle = (low + high) // 2
        enough = jnp.sum(given(middle)) <= total
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    bounds = -jnp.max(rooms) - 1, jnp.ceil(jnp.max(shares)).astype(jnp.int32)
    _, level = jax.lax.fori_loop(0, 32, halve, bounds)
    seats = given(level)
    # Between two levels everyone gets one seat at most: whoever is further below its share comes first.
    room = given(level - 1) > seats
    order = jnp.argsort(jnp.where(room, seats - shares, jnp.inf), stable=True)
    rank = jnp.argsort(order, stable=True)
    return seats + ((rank < total - jnp.sum(seats)) & room)


def rounded_up(shares: jax.Array, rooms: jax.Array) -> jax.Array:
    """FLASH's official way: shares rounded up, at most 99 % of a room, what overflows spread evenly, then rounded down.

    Args:
        shares: f[L], not negative.
        rooms: i32[L], the most that each may get.

    Returns:
        i32[L], whose sum may differ from that of the shares, in either direction.
    """

    def spread(carry):
        turn, wanted, _ = carry
        given = jnp.minimum(wanted, 0.99 * rooms)
        over = jnp.sum(wanted - given)
        return turn + 1, given + over / rooms.size, over

    def overflows(carry):
        turn, _, over = carry
        return (turn < 1000) & (over > 0)

    start = jnp.int32(0), jnp.ceil(shares), jnp.ones((), shares.dtype)
    _, wanted, _ = jax.lax.while_loop(overflows, spread, start)
    return jnp.floor(jnp.minimum(wanted, 0.99 * rooms)).astype(jnp.int32)
