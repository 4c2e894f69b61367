"""The server's optimisers by name: FedAvg, FedAvgM, FedAdagrad, FedAdam and FedYogi, as the paper and codes have them.

Reddi et al., Adaptive Federated Optimization (arXiv 2003.00295), with Delta the clients' mean step:

    m = b1 m + (1 - b1) Delta                              m = 0 before the first round
    v: adagrad  v + Delta^2
       adam     b2 v + (1 - b2) Delta^2
       yogi     v - (1 - b2) Delta^2 sign(v - Delta^2)     sign(0) = 0
    x += rate m / (sqrt(v) + tau)                          v = tau^2 before the first round; no bias correction

A name that ends in `-flower`, `-tff`, `-keras` or `-optax` is the same as that code has it, with that code's constants:

    flower   v = 0 before the first round
    tff      its own first v; rate sqrt(1 - b2^t) / (1 - b1^t) in round t; Adagrad has no m, and tau inside the root
    keras    Yogi of Google's federated research: that of tff whose first v is 1
    optax    Adam with m / (1 - b1^t) and v / (1 - b2^t) in place of m and v, from v = 0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_sparse import errors
from fedjax_sparse.types import PyTree

Second = Callable[[jax.Array, jax.Array, float], jax.Array]  # (v, Delta, b2) -> the next v
Step = Callable[[jax.Array, jax.Array, float], jax.Array]  # (m, v, tau) -> the step, before the rate


def _adagrad(v: jax.Array, delta: jax.Array, b2: float) -> jax.Array:
    del b2
    return v + delta**2


def _adam(v: jax.Array, delta: jax.Array, b2: float) -> jax.Array:
    return b2 * v + (1 - b2) * delta**2


def _yogi(v: jax.Array, delta: jax.Array, b2: float) -> jax.Array:
    return v - (1 - b2) * delta**2 * jnp.sign(v - delta**2)


def _outside(m: jax.Array, v: jax.Array, tau: float) -> jax.Array:
    return m / (jnp.sqrt(v) + tau)


def _inside(m: jax.Array, v: jax.Array, tau: float) -> jax.Array:
    return m / jnp.sqrt(v + tau)


class Variant(NamedTuple):
    """An adaptive optimiser as one source has it.

    Attributes:
        second: The rule of v.
        momentum: b1, where the run does not say.
        decay: b2 likewise.
        tau: Likewise.
        first: tau -> v before the first round.
        corrected: Whether the rate is corrected for a start at zero.
        step: The step, before the rate.
    """

    second: Second
    momentum: float
    decay: float
    tau: float
    first: Callable[[float], float] = lambda tau: tau**2
    corrected: bool = False
    step: Step = _outside


def _from(value: float) -> Callable[[float], float]:
    return lambda tau: value


VARIANTS = {
    "adagrad": Variant(_adagrad, 0.0, 0.0, 1e-3),
    "adam": Variant(_adam, 0.9, 0.99, 1e-3),
    "yogi": Variant(_yogi, 0.9, 0.99, 1e-3),
    "adagrad-flower": Variant(_adagrad, 0.0, 0.0, 1e-9, _from(0.0)),
    "adam-flower": Variant(_adam, 0.9, 0.99, 1e-9, _from(0.0)),
    "yogi-flower": Variant(_yogi, 0.9, 0.99, 1e-3, _from(0.0)),
    "adagrad-tff": Variant(_adagrad, 0.0, 0.0, 1e-7, _from(0.1), step=_inside),
    "adam-tff": Variant(_adam, 0.9, 0.999, 1e-7, _from(0.0), corrected=True),
    "yogi-tff": Variant(_yogi, 0.9, 0.999, 1e-3, _from(1e-6), corrected=True),
    "yogi-keras": Variant(_yogi, 0.9, 0.999, 1e-3, _from(1.0), corrected=True),
}
NAMES = ("sgd", "momentum", *VARIANTS, "adam-optax")


class Moments(NamedTuple):
    """The state of an adaptive optimiser: rounds so far i32[], and m and v, each like the parameters."""

    count: jax.Array
    m: PyTree
    v: PyTree


def make(
    name: str,
    rate: float,
    momentum: float | None = None,
    decay: float | None = None,
    tau: float | None = None,
) -> optax.GradientTransformation:
    """The server's optimiser, an optax transformation that is fed with minus the clients' mean step.

    Args:
        name: One of `NAMES`. "sgd" with rate 1 is FedAvg; "momentum" is FedAvgM, m = momentum m + Delta and
            x += rate m, as in PyTorch.
        rate: eta.
        momentum: b1, or that of FedAvgM; None for the variant's own: 0.9, or 0 for Adagrad.
        decay: b2, which Adagrad has not; None for the variant's own.
        tau: None for the variant's own.

    Raises:
        UsageError: An unknown name.
    """
    usual = 0.9 if momentum is None else momentum
    if name == "sgd":
        return optax.sgd(rate)
    if name == "momentum":
        return optax.sgd(rate, momentum=usual)
    if name == "adam-optax":
        b2, eps = 0.99 if decay is None else decay, 1e-3 if tau is None else tau
        return optax.adam(rate, b1=usual, b2=b2, eps=eps)
    if name not in VARIANTS:
        errors.unknown_name("server optimizer", name, NAMES)
    return _adaptive(rate, _with(VARIANTS[name], momentum=momentum, decay=decay, tau=tau))


def _with(variant: Variant, **stated: float | None) -> Variant:
    """The variant with those constants that are stated."""
    return variant._replace(**{name: value for name, value in stated.items() if value is not None})


def _adaptive(rate: float, variant: Variant) -> optax.GradientTransformation:
    b1, b2, tau = variant.momentum, variant.decay, variant.tau

    def init(params: PyTree) -> Moments:
        first = jax.tree.map(lambda leaf: jnp.full_like(leaf, variant.first(tau)), params)
        return Moments(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), first)

    def update(gradient: PyTree, state: Moments, params: PyTree | None = None) -> tuple[PyTree, Moments]:
        del params
        delta = jax.tree.map(jnp.negative, gradient)
        count = state.count + 1
        m = jax.tree.map(lambda m, delta: b1 * m + (1 - b1) * delta, state.m, delta)
        v = jax.tree.map(lambda v, delta: variant.second(v, delta, b2), state.v, delta)
        now = rate * (_correction(b1, b2, count) if variant.corrected else 1)
        step = jax.tree.map(lambda m, v: (now * variant.step(m, v, tau)).astype(m.dtype), m, v)
        return step, Moments(count, m, v)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def _correction(b1: float, b2: float, count: jax.Array) -> jax.Array:
    """sqrt(1 - b2^t) / (1 - b1^t), f[], without the cancellation that 1 - b2 would suffer in float32."""

    def one_minus_power(b: float) -> jax.Array:
        return -jnp.expm1(count * (math.log(b) if b else -math.inf))

    return jnp.sqrt(one_minus_power(b2)) / one_minus_power(b1)
